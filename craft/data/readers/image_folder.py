"""Folders of images by class, with or without folders for training, validation and test."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers.account import UNREADABLE, Account
from craft.data.readers.faults import Faults
from craft.data.readers.file_kinds import is_unread_image
from craft.data.readers.image import ImageFile, is_image_name
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.splits import split_name
from craft.data.readers.walk import is_junk, problem_of, walk


def read_image_folder(path: Path, options: ReadOptions, account: Account) -> RecordSet:
    """``path/<class>/*.jpg``, ``path/<split>/<class>/*.jpg`` or ``path/<class>/<split>/*.jpg``;
    images may lie deeper.

    Raises:
        DataError: split folders beside class folders, images outside of class folders, a class
            folder without images; empty files and Git LFS pointers, unless they may be skipped.
    """
    faults = Faults()
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
            files = walk(class_folder, account)
            images = [f for f in files if is_image_name(f.name)]
            ignored += [f for f in files if not is_image_name(f.name)]
            if not images:
                others = f"; it holds {shown(files[0].name)}" if files else ""
                raise DataError(
                    Place(class_folder),
                    f"a class without images{others}; add some or remove the folder",
                )
            for image in images:
                problem = problem_of(image)
                if problem is not None and options.skip_corrupt:
                    account.skip(UNREADABLE, image, problem)
                    continue
                if problem is not None:
                    faults.add(DataError(Place(image), problem))
                records.append(
                    Record(
                        id=shown(image.relative_to(path).as_posix()),
                        image=ImageFile(image),
                        place=Place(image),
                        label=shown(class_folder.name),
                        split=split or _inner_part(class_folder, image),
                    )
                )
    faults.raise_if_any()
    for file in ignored:
        unread = is_unread_image(file.name)
        account.skip(
            "images of a kind that is not read" if unread else "files that are no images", file
        )
    inner = [record for record in records if record.split and not named]
    if inner and len(inner) < len(records):
        bare = next(record for record in records if record.split is None)
        raise DataError(
            bare.place,
            f"lies outside of any part, but {inner[0].place} lies in {inner[0].split}; put all "
            "images of all classes into folders of parts, or none",
        )
    notes = ["the folder an image lies in is its class"]
    if named:
        notes.append(f"splits from the folders {', '.join(f.name for f in named)}")
    if inner:
        notes.append("splits from the folders inside those of the classes")
    if ignored:
        notes.append(f"{len(ignored)} files that are no images ignored, first {ignored[0]}")
    given = bool(options.class_names)
    return RecordSet(path, "image_folder", records, tuple(notes), account, given)


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not is_junk(f.name, folder=True))


def _inner_part(class_folder: Path, image: Path) -> str | None:
    """The part that a folder between class and image names.

    Raises:
        DataError: several.
    """
    names = image.relative_to(class_folder).parts[:-1]
    parts = {part for part in map(split_name, names) if part}
    if len(parts) > 1:
        raise DataError(Place(image), f"lies in folders of several parts: {sorted(parts)}")
    return parts.pop() if parts else None


def _require_none_loose(folder: Path) -> None:
    loose = [
        f for f in folder.iterdir() if f.is_file() and is_image_name(f.name) and not is_junk(f.name)
    ]
    if loose:
        raise DataError(
            Place(min(loose)),
            f"an image outside of any class folder; {folder} must hold one folder a class",
        )
