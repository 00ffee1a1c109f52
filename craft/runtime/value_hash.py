"""A hash of plain values, which tells whether two runs are about the same things."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def value_hash(*values: Any) -> str:
    """SHA-256 of values, as JSON."""
    digest = hashlib.sha256()
    for value in values:
        text = json.dumps(value, sort_keys=True, default=_plain)
        digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON does not know: sets and the like in an order of their own, all else by its name."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return sorted(value, key=repr)
    return str(value)
