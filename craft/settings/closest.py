"""Suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``; did you mean 'lr'?``, or an empty string if no known name resembles the given one.

    A name also matches dotted names that end with it: ``every`` matches ``checkpoint.every``.
    """
    names = list(known)
    by_case = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given.lower(), by_case, n=1, cutoff=0.6)
    close = [by_case[name] for name in found]
    if not close:
        close = [name for name in names if name.rpartition(".")[2] == given]
    return f"; did you mean {close[0]!r}?" if close else ""
