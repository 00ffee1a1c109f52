"""Image cells of Arrow tables: bytes, Hugging Face's ``{"bytes", "path"}``, or paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from craft.data.readers.inline_images import inline_bytes
from craft.data.readers.place import DataError, Place
from craft.errors import CraftError
from craft.runtime.inside import inside


def image_bytes(cell: Any, folder: Path) -> bytes:
    """The encoded image of a cell, or of a list of one cell; paths begin at ``folder``.

    Raises:
        OSError: it names a file that cannot be read.
        CraftError: it is no image cell, or a path that leads out of the folder.
    """
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, str):
        data = inline_bytes(cell.strip())
        if data is not None:
            return data
        return inside(folder, cell, "the image cell").read_bytes()
    raise CraftError(f"not bytes, not a path and not a struct of the two: {type(cell).__name__}")


def require_one_image(cell: Any, place: Place) -> bool:
    """Whether a cell holds an image. Raises DataError when it holds several."""
    if isinstance(cell, list):
        if len(cell) > 1:
            raise DataError(place, f"{len(cell)} images; a record must have exactly one")
        cell = cell[0] if cell else None
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return bool(cell)
