"""Folders of images by class, with or without folders for splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from craft.data.readers.account import NOT_UTF8, Account
from craft.data.readers.file_kinds import is_unread_image, kind_of, suffix
from craft.data.readers.image import ImageFile
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.splits import split_name
from craft.data.readers.walk import is_junk, walk

UNREAD = "images in unsupported formats"
OTHERS = "files that are not images"


def read_image_folder(
    path: Path, account: Account | None = None, files: Sequence[Path] | None = None
) -> RecordSet:
    """Read a folder of images by class.

    The layout is ``path/<class>/*.jpg``, ``path/<split>/<class>/*.jpg`` or
    ``path/<class>/<split>/*.jpg``; images may be in deeper folders.

    Args:
        account: collects what is skipped.
        files: the result of :func:`~craft.data.readers.walk.walk` on ``path``, if known.

    Raises:
        DataError: there are split folders beside class folders, images outside class folders, a
            class folder without images, or a folder whose name is not UTF-8.
    """
    account = account or Account()
    images: list[Path] = []
    others: list[Path] = []
    for file in walk(path, account) if files is None else files:
        if kind_of(file.name) == "image":
            images.append(file)
        else:
            others.append(file)
            if is_unread_image(file.name):
                account.skip(UNREAD, file, "convert it to PNG or JPEG")
            else:
                account.skip(OTHERS, file)
    tops = _folders(path)
    splits = _splits_of(path, tops)
    inner = _class_first(path, images) if not splits else {}
    depth = 1 if splits else 0
    for image in images:
        if len(image.relative_to(path).parts) < depth + 2:
            parent = image.parent
            raise DataError(
                Place(image),
                f"an image outside any class folder; {shown(parent)} must contain one folder per "
                "class",
            )
    parents = [path / name for name in tops] if splits else [path]
    for parent in parents:
        for name in _folders(parent):
            _require_images(parent / name, images, others)
    records = []
    for image in images:
        parts = image.relative_to(path).parts
        label = parts[depth]
        if shown(label) != label:
            raise DataError(Place(image.parent), "its name is not UTF-8; rename the folder")
        split = splits.get(parts[0]) or (inner.get(parts[1]) if inner else None)
        name = image.relative_to(path).as_posix()
        if shown(name) != name:
            account.warn(NOT_UTF8, image)
        records.append(
            Record(
                id=shown(name),
                image=ImageFile(image),
                place=Place(image),
                label=label,
                split=split,
            )
        )
    notes = ["the class of an image is the name of its folder"]
    if splits:
        notes.append(f"splits from the folders {', '.join(tops)}")
    if inner:
        notes.append(f"splits from the folders {', '.join(sorted(inner))} in each class")
    return RecordSet(path, "image_folder", records, tuple(notes), account)


def _folders(path: Path) -> list[str]:
    return sorted(f.name for f in path.iterdir() if f.is_dir() and not is_junk(f.name, folder=True))


def _splits_of(path: Path, tops: Sequence[str]) -> dict[str, str]:
    """Folder -> split for the top folders; raise DataError if only some of them are splits."""
    named = {name: split for name in tops if (split := split_name(name))}
    others = [name for name in tops if name not in named]
    if named and others:
        raise DataError(
            Place(path),
            f"{min(named)}/ looks like a split, {shown(others[0])}/ like a class; use only class "
            "folders, or only train/, val/ and test/ with class folders in them",
        )
    _require_once(path, named)
    return named


def _class_first(path: Path, images: Sequence[Path]) -> dict[str, str]:
    """Folder -> split inside class folders (``cat/train/``); all images must have one, or none."""
    inside: dict[str, str] = {}
    loose: list[Path] = []
    for image in images:
        parts = image.relative_to(path).parts
        folder = parts[1] if len(parts) > 2 else ""
        if split := split_name(folder):
            inside[folder] = split
        else:
            loose.append(image)
    if inside and loose:
        raise DataError(
            Place(loose[0]),
            f"is in no split, but other images are in {min(inside)}/ inside their class; put all "
            "images into such folders, or none",
        )
    _require_once(path, inside)
    return inside


def _require_once(path: Path, named: dict[str, str]) -> None:
    twice = {s for s in named.values() if list(named.values()).count(s) > 1}
    if twice:
        raise DataError(Place(path), f"two folders for the split {min(twice)!r}: {sorted(named)}")


def _require_images(folder: Path, images: Sequence[Path], others: Sequence[Path]) -> None:
    if any(folder in image.parents for image in images):
        return
    unread = {suffix(f.name) for f in others if folder in f.parents and is_unread_image(f.name)}
    kinds = f", only files in unsupported formats: {', '.join(sorted(unread))}" if unread else ""
    raise DataError(
        Place(folder),
        f"a class without images{kinds}; add images in a supported format, or remove the folder",
    )
