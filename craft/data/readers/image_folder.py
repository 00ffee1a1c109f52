"""Folders of images by class, with or without folders for training, validation and test."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers.image import ImageFile
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.splits import split_name


def read_image_folder(path: Path, options: ReadOptions) -> RecordSet:
    """``path/<class>/*.jpg`` or ``path/<split>/<class>/*.jpg``; images may lie deeper.

    Raises:
        DataError: split folders beside class folders, images outside of class folders, a class
            folder without images.
    """
    folders = _folders(path)
    splits = {folder: split_name(folder.name) for folder in folders}
    named = [folder for folder in folders if splits[folder]]
    if named and len(named) < len(folders):
        others = [folder.name for folder in folders if not splits[folder]]
        raise DataError(
            Place(path),
            f"{named[0].name}/ looks like a split, {others[0]}/ like a class; have only class "
            "folders, or only train/, val/ and test/ with class folders in them",
        )
    twice = {s for s in splits.values() if s and list(splits.values()).count(s) > 1}
    if twice:
        raise DataError(Place(path), f"two folders for the split {twice.pop()!r}")
    records: list[Record] = []
    ignored: list[Path] = []
    for folder in named or [path]:
        split = splits.get(folder)
        _require_none_loose(folder)
        for class_folder in _folders(folder):
            files = sorted(
                f
                for f in class_folder.rglob("*")
                if f.is_file() and not f.relative_to(folder).as_posix().startswith(".")
            )
            images = [f for f in files if is_image_name(f.name) and f.name[0] != "."]
            ignored += [f for f in files if not is_image_name(f.name) and f.name[0] != "."]
            if not images:
                raise DataError(
                    Place(class_folder), "a class without images; add some or remove the folder"
                )
            records += [
                Record(
                    id=image.relative_to(path).as_posix(),
                    image=ImageFile(image),
                    place=Place(image),
                    label=class_folder.name,
                    split=split,
                )
                for image in images
            ]
    notes = ["the folder an image lies in is its class"]
    if named:
        notes.append(f"splits from the folders {', '.join(f.name for f in named)}")
    if ignored:
        notes.append(f"{len(ignored)} files that are no images ignored, first {ignored[0]}")
    return RecordSet(path, "image_folder", records, tuple(notes))


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _require_none_loose(folder: Path) -> None:
    loose = [f for f in folder.iterdir() if f.is_file() and is_image_name(f.name)]
    if loose:
        raise DataError(
            Place(min(loose)),
            f"an image outside of any class folder; {folder} must hold one folder a class",
        )
