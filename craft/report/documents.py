"""Documents that are written by hand but for what stands between two marks."""

from __future__ import annotations

from craft.errors import CraftError


def between_marks(text: str, begin: str, end: str, content: str) -> str:
    """``text`` with ``content`` between the two marks, which stay.

    Raises:
        CraftError: a mark is missing.
    """
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise CraftError(f"the document lacks {begin!r} or {end!r}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
