"""Images in annotation files: paths relative to one folder, or images inside cells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.readers.image import EncodedImage, ImageFile
from craft.data.readers.image_cells import LONGEST_PATH
from craft.data.readers.inline_images import InlineImage, inline_bytes
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.rows import MissingImage
from craft.data.readers.walk import LOST, problem_of
from craft.runtime.inside import inside
from craft.runtime.stored_files import StoredFileError


@dataclass
class ImagePaths:
    """Looks up image paths in a single folder, which is the same for all rows.

    Args:
        file: the annotation file.
        folders: candidates; the first one that contains the first path is chosen.
        root: the folder of images that the user named; links in it are followed. Without it, images
            must be in the folder of the file, and links that lead out of it are refused.
    """

    file: Path
    folders: list[Path]
    root: Path | None = None
    chosen: Path | None = None
    inline: int = 0

    @classmethod
    def of(cls, file: Path, root: Path | None) -> ImagePaths:
        """Look in ``root`` if the user named one, otherwise beside the file or in ``images/``."""
        if root is not None:
            return cls(file, [root], root, root)
        return cls(file, [file.parent, file.parent / "images"])

    def image(self, value: Any, place: Place) -> EncodedImage | None:
        """Return the image of a cell: a path, base64, ``{"path"}``, ``{"bytes"}`` or a list of one.

        Returns:
            The image; None if the cell is empty.

        Raises:
            MissingImage: the file does not exist or is empty.
            DataError: there are several images, the cell is not an image, the path leads out of the
                folder, or the file is a Git LFS pointer or cannot be opened.
        """
        if isinstance(value, list):
            if len(value) > 1:
                raise DataError(
                    place, f"{len(value)} images; a record must have exactly one: {value!r:.80}"
                )
            value = value[0] if value else None
        if isinstance(value, dict):
            if not {"path", "bytes"} & value.keys():
                raise DataError(
                    place, f'image must have "path" or "bytes", it has {sorted(value)!s:.60}'
                )
            value = value.get("bytes") or value.get("path")
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if not isinstance(value, str):
            raise DataError(place, f"image must be a path, got {value!r:.60}")
        data = inline_bytes(value.strip())
        if data is not None:
            self.inline += 1
            return InlineImage(data)
        return ImageFile(self._found(value, place))

    def _found(self, value: str, place: Place) -> Path:
        if "\0" in value or len(value) > LONGEST_PATH:
            raise DataError(place, f"image is not a path: {value!r:.60}")
        if self.chosen is None:
            held = [f for f in self.folders if _is_there(self._within(f, value, place))]
            self.chosen = next(iter(held), None)
        if self.chosen is None:
            looked = " or ".join(shown(folder) for folder in self.folders[:2])
            raise MissingImage(
                place,
                f"no image {value!r} in {looked}; name the folder that image paths are relative to "
                "(--images)",
            )
        path = self._within(self.chosen, value, place)
        problem = problem_of(path)
        if problem is not None:
            told = f"{problem.replace('no such file', 'no such image file')}: {shown(path)}"
            raise MissingImage(place, told) if problem in LOST else DataError(place, told)
        return path

    def _within(self, folder: Path, value: str, place: Place) -> Path:
        """Return ``folder / value``, unless it leads out of where images may be."""
        if self.root is None:
            scope, names = self.file.parent, [os.path.join(folder.name, value)]
            if folder == scope:
                names = [value]
        else:  # paths may still be relative to the file, such as ../images/a.png
            scope, names = self.root, [value, os.path.join(self.file.parent.absolute(), value)]
        for name in names:
            try:
                return inside(scope, name, "the record", follow_links=self.root is not None)
            except StoredFileError:
                continue
        raise DataError(
            place,
            f"image {value!r:.80} leads out of {shown(scope)}; if this is intended, name a folder "
            "that contains all images, in which links are followed (--images)",
        )

    def sentence(self) -> str:
        """Describe where images were found."""
        if self.inline and self.chosen is None:
            return "images are in the table's cells"
        where = shown(self.chosen) if self.chosen else "no known folder"
        return f"image paths are relative to {where}"


def _is_there(path: Path) -> bool:
    return path.exists() and not path.is_dir()
