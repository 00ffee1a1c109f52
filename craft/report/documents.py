"""Documents that are written by hand, except for what is between two marks.

``python -m craft.report.documents docs/training.md`` brings its table of settings up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from craft.errors import CraftError
from craft.runtime.whole_file import write_text
from craft.settings.table import settings_table

BEGIN = "<!-- settings: written by python -m craft.report.documents -->"
END = "<!-- end of settings -->"


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


def with_table(text: str) -> str:
    """A document with the table of settings between its marks brought up to date.

    Raises:
        CraftError: the marks are missing.
    """
    return between_marks(text, BEGIN, END, settings_table())


if __name__ == "__main__":
    document = Path(sys.argv[1])
    write_text(document, with_table(document.read_text()))
