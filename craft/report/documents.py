"""Generated sections, between two marks, in documents that are written by hand.

``python -m craft.report.documents docs/training.md docs/laser.md`` updates the settings in them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from craft.errors import CraftError
from craft.runtime.whole_file import write_text
from craft.settings.table import laser_table, settings_table

BEGIN = "<!-- settings: written by python -m craft.report.documents -->"
LASER = "<!-- settings of LASER: written by python -m craft.report.documents -->"
END = "<!-- end of settings -->"


def between_marks(text: str, begin: str, end: str, content: str) -> str:
    """Replace the text between two marks with ``content``; the marks stay.

    Raises:
        CraftError: a mark is missing.
    """
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise CraftError(f"the document lacks the mark {begin!r} or {end!r}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def with_table(text: str) -> str:
    """Update the table of settings between a document's marks.

    Raises:
        CraftError: the marks are missing.
    """
    if LASER in text:
        return between_marks(text, LASER, END, laser_table())
    return between_marks(text, BEGIN, END, settings_table())


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        write_text(document, with_table(document.read_text()))
