"""Makes text from other sources safe to display.

Class names, file names, archive members, models' answers and messages of other programs can contain
anything. Printed unchanged, control characters move the cursor or change a terminal's colours and
title, and bidirectional overrides make text appear different from what it is.
"""

from __future__ import annotations

import re

#: C0 except tab and line feed, DEL and C1, the Unicode line and paragraph separators, bidirectional
#: overrides and isolates, and lone surrogates.
_UNSHOWN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_BREAKS = {"\n": r"\n", "\t": r"\t"}


def visible(text: str) -> str:
    r"""Escape control characters (ESC becomes ``\x1b``), but keep tabs and line feeds."""
    return _UNSHOWN.sub(_escape, text)


def on_one_line(text: str) -> str:
    r"""Like :func:`visible`, and also escape line feeds and tabs as ``\n`` and ``\t``."""
    return re.sub(r"[\n\t]", lambda found: _BREAKS[found[0]], visible(text))


def shortened(text: str, most: int) -> str:
    """Shorten ``text`` to ``most`` (at least 3) characters by leaving out its middle."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
