"""Text from elsewhere, made harmless where it is shown.

Names of classes and files, members of archives, answers of models and messages of other programs
may hold anything. Shown as they are, control characters move the cursor, colour or retitle a
terminal, and bidirectional overrides show other text than is there.
"""

from __future__ import annotations

import re

#: C0 except tab and line feed, DEL and C1, the separators that some programs break lines at,
#: overrides and isolates of the direction of writing, and halves of surrogate pairs.
_UNSHOWN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_BREAKS = {"\n": r"\n", "\t": r"\t"}


def visible(text: str) -> str:
    r"""``text`` with control characters as escapes: ESC becomes ``\x1b``. Line feeds stay."""
    return _UNSHOWN.sub(_escape, text)


def on_one_line(text: str) -> str:
    r"""As :func:`visible`, with line feeds and tabs as ``\n`` and ``\t``."""
    return re.sub(r"[\n\t]", lambda found: _BREAKS[found[0]], visible(text))


def shortened(text: str, most: int) -> str:
    """``text`` without its middle if it has more than ``most`` characters, at least 3."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
