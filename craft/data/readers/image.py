"""Encoded images, in files of their own or inside others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from craft.data.readers.image_limits import most_bytes
from craft.runtime.regular_files import regular_bytes


class EncodedImage(Protocol):
    """An image as stored on disk; ``str`` gives its place."""

    @property
    def named(self) -> str:
        """The path in the data, which may contain a split name; empty if there is none."""
        ...

    def read(self) -> bytes:
        """Read the encoded bytes.

        Raises:
            OSError: they cannot be read.
            CraftError: the file is not regular, or larger than an image may be.
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
