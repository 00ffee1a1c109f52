"""Encoded images wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class EncodedImage(Protocol):
    """An image as it lies on disk; ``str`` says where."""

    @property
    def named(self) -> str:
        """The path by which the data names it, which may say a part; empty if there is none."""
        ...

    def read(self) -> bytes:
        """The encoded bytes. Raises OSError when they cannot be had."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own."""

    path: Path

    @property
    def named(self) -> str:
        return str(self.path.absolute())

    def read(self) -> bytes:
        return self.path.read_bytes()

    def __str__(self) -> str:
        return str(self.path)
