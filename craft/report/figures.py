"""Figures that contain text from other sources, which is drawn literally, not as mathematics."""

from __future__ import annotations

import logging
import re
import textwrap
import warnings
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

from craft.runtime.plain_text import on_one_line, shortened, visible

#: Passed with every title, label and text that contains names or questions: "$" and "\\" are plain
#: characters, whatever the user's matplotlibrc says.
LITERAL = {"parse_math": False, "usetex": False}

log = logging.getLogger(__name__)
_MISSING = re.compile(r"Glyph (\d+) .*missing from")


def name_in_figure(name: str, most: int = 40) -> str:
    """Format a name on one line, shortened to ``most`` characters to leave room for the picture."""
    return shortened(on_one_line(name), most)


def text_in_figure(text: str, width: int = 110, most_lines: int = 8) -> str:
    """Wrap a longer text at ``width`` characters, and truncate it to ``most_lines`` lines."""
    lines = [
        part
        for line in visible(text[: width * (most_lines + 1)]).expandtabs().split("\n")
        for part in textwrap.wrap(line, width) or [""]
    ]
    return "\n".join(lines if len(lines) <= most_lines else [*lines[: most_lines - 1], "…"])


def save_figure(figure: Figure, file: Path | IO[bytes], kind: str = "png", dpi: int = 120) -> None:
    """Write a figure; characters that the font lacks are drawn as boxes and logged once.

    Args:
        kind: "png", "svg" or "pdf".
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(file, dpi=dpi, format=kind)
    missing = ""
    for warning in caught:
        found = _MISSING.search(str(warning.message))
        if found is None:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif chr(int(found[1])) not in missing:
            missing += chr(int(found[1]))
    if missing:
        log.warning(
            "the figures' font lacks %r, which are drawn as boxes; choose another font with "
            "matplotlib's font.family",
            missing,
        )
