"""Encoded images wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from craft.data.readers.image_limits import most_bytes
from craft.runtime.regular_files import regular_bytes


class EncodedImage(Protocol):
    """An image as it lies on disk; ``str`` says where."""

    @property
    def named(self) -> str:
        """The path by which the data names it, which may say a part; empty if there is none."""
        ...

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            OSError: they cannot be had.
            CraftError: no regular file, or more than an image may take.
        """
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own."""

    path: Path

    @property
    def named(self) -> str:
        return str(self.path.absolute())

    def read(self) -> bytes:
        return regular_bytes(self.path, most_bytes())

    def __str__(self) -> str:
        return str(self.path)
