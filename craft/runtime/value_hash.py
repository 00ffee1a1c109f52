"""A hash of plain values, used to tell whether two runs have the same inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def value_hash(*values: Any) -> str:
    """SHA-256 of values, serialized as JSON."""
    digest = hashlib.sha256()
    for value in values:
        text = json.dumps(value, sort_keys=True, default=_plain)
        digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Convert a value that JSON cannot hold to a dict, a sorted list or a string."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return sorted(value, key=repr)
    return str(value)
