"""Images stored as text in a table's cells: base64, plain or as a ``data:`` URL."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from craft.errors import CraftError

#: Shorter texts of only letters and digits are file names.
_LEAST = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_DATA = re.compile(r"data:[\w/+.-]*(;[\w=.-]+)*;base64,", re.I)


@dataclass(frozen=True)
class InlineImage:
    """An image decoded from the text of a cell."""

    data: bytes
    named: str = ""

    def read(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return f"{len(self.data)} bytes in the cell"


def inline_bytes(text: str) -> bytes | None:
    """Decode the image in a cell's text; None if the text is a path.

    Raises:
        CraftError: the text is invalid base64, or a web link.
    """
    if re.match(r"https?://", text, re.I):
        raise CraftError(f"the image is a link, {text[:60]!r}; download images and give file names")
    match = _DATA.match(text)
    if text[:5].lower() == "data:" and match is None:
        raise CraftError(f"an image after data: must be in base64, got {text[:30]!r}...")
    if match is None and (len(text) < _LEAST or not _BASE64.fullmatch(text)):
        return None
    try:
        return base64.b64decode("".join(text[match.end() if match else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CraftError(
            f"an image in base64 of {len(text)} characters is damaged: {error}"
        ) from None
