"""Images as annotation files name them: paths found under one folder, or the images themselves."""

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
    """Looks image paths up under one folder, the same one for all, and in it alone.

    Args:
        file: the annotation file.
        folders: tried in order; the first under which the first path exists is taken.
        root: where the user said that images are; links in it are followed. Without, images lie
            in the folder of the file, and links that lead out of it are refused.
    """

    file: Path
    folders: list[Path]
    root: Path | None = None
    chosen: Path | None = None
    inline: int = 0

    @classmethod
    def of(cls, file: Path, root: Path | None) -> ImagePaths:
        """Under ``root`` if the user named one; else beside the file or in ``images/`` there."""
        if root is not None:
            return cls(file, [root], root, root)
        return cls(file, [file.parent, file.parent / "images"])

    def image(self, value: Any, place: Place) -> EncodedImage | None:
        """The image of a cell: a path, base64, ``{"path"}`` or ``{"bytes"}``, or a list of one.

        Returns:
            None if the cell is empty.

        Raises:
            MissingImage: no such file, or an empty one.
            DataError: several images, no image, a path that leads out of the folder, a Git LFS
                pointer, or a file that cannot be opened.
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
            raise DataError(place, f"image is no path: {value!r:.60}")
        if self.chosen is None:
            held = [f for f in self.folders if _is_there(self._within(f, value, place))]
            self.chosen = next(iter(held), None)
        if self.chosen is None:
            looked = " or ".join(shown(folder) for folder in self.folders[:2])
            raise MissingImage(
                place,
                f"no image {value!r} in {looked}; name the folder that image paths begin at "
                "(--images)",
            )
        path = self._within(self.chosen, value, place)
        problem = problem_of(path)
        if problem is not None:
            told = f"{problem.replace('no such file', 'no such image file')}: {shown(path)}"
            raise MissingImage(place, told) if problem in LOST else DataError(place, told)
        return path

    def _within(self, folder: Path, value: str, place: Place) -> Path:
        """``folder / value``, unless it leads out of where images may lie."""
        if self.root is None:
            scope, names = self.file.parent, [os.path.join(folder.name, value)]
            if folder == scope:
                names = [value]
        else:  # paths may begin at the file all the same, as ../images/a.png does
            scope, names = self.root, [value, os.path.join(self.file.parent.absolute(), value)]
        for name in names:
            try:
                return inside(scope, name, "the record", follow_links=self.root is not None)
            except StoredFileError:
                continue
        raise DataError(
            place,
            f"image {value!r:.80} leads out of {shown(scope)}; if that is meant, name a folder "
            "that holds all images, in which links are followed (--images)",
        )

    def sentence(self) -> str:
        """Where images were found."""
        if self.inline and self.chosen is None:
            return "images stand in the table's cells"
        return f"image paths begin at {shown(self.chosen) if self.chosen else 'no known folder'}"


def _is_there(path: Path) -> bool:
    return path.exists() and not path.is_dir()
