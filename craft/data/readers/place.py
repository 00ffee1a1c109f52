"""The place where something was read, and the error that names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from craft.errors import CraftError

if TYPE_CHECKING:
    from craft.data.readers.account import AccountSummary


def shown(path: Path | str) -> str:
    r"""Make a path or text safe to print and store: bytes that are not UTF-8 are escaped.

    >>> shown(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    'caf\\xe9.png'
    """
    return re.sub("[\ud800-\udfff]", _escaped, str(path))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])  # Python represents an undecodable byte b as U+DC00 + b
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


@dataclass(frozen=True)
class Place:
    """A place in data: a file, and the line, row or member in it."""

    path: Path
    line: int | None = None
    part: str = ""

    def __str__(self) -> str:
        where = shown(self.path) if self.line is None else f"{shown(self.path)}:{self.line}"
        return f"{where}, {shown(self.part)}" if self.part else where


class DataError(CraftError):
    """Data is not what it claims to be; the message starts with file and line.

    ``account`` summarises what had been skipped before, if known.
    """

    account: AccountSummary | None = None

    def __init__(self, place: Place, problem: str):
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem
