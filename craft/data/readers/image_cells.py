"""Image cells of Arrow tables: bytes, Hugging Face's ``{"bytes", "path"}``, or paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from craft.data.readers.image_limits import most_bytes
from craft.data.readers.inline_images import inline_bytes
from craft.data.readers.place import DataError, Place
from craft.errors import CraftError
from craft.runtime.inside import inside
from craft.runtime.regular_files import regular_bytes
from craft.runtime.stored_files import StoredFileError

#: Longer texts are not paths on any system.
LONGEST_PATH = 4096


def image_bytes(cell: Any, folder: Path, root: Path | None = None) -> bytes:
    """Return the encoded image of a cell, or of a list with one cell.

    Args:
        folder: the folder that paths are relative to and must not lead out of.
        root: the folder that the user named, to use instead; links in it are followed.

    Raises:
        OSError: the cell names a file that cannot be read.
        CraftError: the cell is not an image, or a path that leads out of the folder.
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
        return regular_bytes(_path(cell, folder, root), most_bytes())
    raise CraftError(f"not bytes, not a path and not a struct of the two: {type(cell).__name__}")


def _path(cell: str, folder: Path, root: Path | None) -> Path:
    scope, names = folder, [cell]
    if root is not None:  # paths may still be relative to the table
        scope, names = root, [cell, os.path.join(folder.absolute(), cell)]
    found, refusals = [], []
    for name in names:
        try:
            found.append(inside(scope, name, "the image cell", follow_links=root is not None))
        except StoredFileError as error:
            refusals.append(error)
    if not found:
        raise CraftError(
            f"{refusals[0]}; if this is intended, name a folder that contains all images (--images)"
        )
    return next(filter(os.path.lexists, found), found[0])


def path_in(cell: Any) -> str:
    """Return the path in a cell, with or without bytes; empty if there is none.

    >>> path_in({"bytes": b"...", "path": "train/a.png"}), path_in(b"...")
    ('train/a.png', '')
    """
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    if isinstance(cell, dict):
        cell = cell.get("path")
    return cell if isinstance(cell, str) and len(cell) <= LONGEST_PATH else ""


def require_one_image(cell: Any, place: Place) -> bool:
    """Whether a cell contains an image; raise DataError if it contains several."""
    if isinstance(cell, list) and len(cell) > 1:
        raise DataError(place, f"{len(cell)} images; a record must have exactly one")
    return holds_image(cell)


def holds_image(cell: Any) -> bool:
    """Whether a cell contains an image of any kind.

    >>> holds_image(["a.png"]), holds_image([]), holds_image({"bytes": None, "path": ""})
    (True, False, False)
    """
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return bool(cell.strip() if isinstance(cell, str) else cell)
