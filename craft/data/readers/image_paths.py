"""Image paths as annotation files write them, found under one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.readers.image import ImageFile
from craft.data.readers.place import DataError, Place


@dataclass
class ImagePaths:
    """Looks image paths up under one folder, the same one for all.

    Args:
        folders: tried in order; the first under which the first path exists is taken.
    """

    folders: list[Path]
    chosen: Path | None = None

    @classmethod
    def beside(cls, file: Path, root: Path | None) -> ImagePaths:
        """Under ``root`` if the user named one; else beside the file or in ``images/`` there."""
        if root is not None:
            return cls([root], root)
        return cls([file.parent, file.parent / "images"])

    def image(self, value: Any, place: Place, missing_ok: bool = False) -> ImageFile:
        """The image a path, or a list of one path, names.

        Args:
            missing_ok: leave a missing file to whoever decodes it.

        Raises:
            DataError: several images, not a path, or no such file.
        """
        if isinstance(value, list):
            if len(value) != 1:
                raise DataError(
                    place, f"{len(value)} images; a record must have exactly one: {value!r:.80}"
                )
            value = value[0]
        if not isinstance(value, str) or not value.strip():
            raise DataError(place, f"image must be a path, got {value!r:.60}")
        if self.chosen is None:
            self.chosen = next((f for f in self.folders if (f / value).is_file()), None)
        if self.chosen is None:
            if missing_ok:
                return ImageFile(self.folders[0] / value)
            looked = " or ".join(str(folder) for folder in self.folders)
            raise DataError(
                place,
                f"no image {value!r} in {looked}; name the folder that image paths begin at "
                "(--images)",
            )
        path = self.chosen / value
        if not missing_ok and not path.is_file():
            raise DataError(place, f"no such image file: {path}")
        return ImageFile(path)

    def sentence(self) -> str:
        """Where images were found."""
        return f"image paths begin at {self.chosen}"
