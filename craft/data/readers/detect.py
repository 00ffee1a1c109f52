"""One call that reads any known kind of data: what a path holds, and the reader for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from craft.data.readers.account import Account
from craft.data.readers.faults import failures_at
from craft.data.readers.file_kinds import is_unread_image, kind_of, stem, suffix
from craft.data.readers.hf_disk import read_hf_disk
from craft.data.readers.image import ImageFile
from craft.data.readers.image_folder import read_image_folder
from craft.data.readers.image_report import ImageReport
from craft.data.readers.json_lines import read_objects
from craft.data.readers.llava import read_llava
from craft.data.readers.options import Format, ReadOptions
from craft.data.readers.parquet import read_parquet
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.record import RecordSet
from craft.data.readers.splits import split_name, split_of_file
from craft.data.readers.table import read_table
from craft.data.readers.walk import require_whole, walk
from craft.data.readers.webdataset import read_webdataset

FileReader = Callable[[Path, ReadOptions, str | None], RecordSet]

UNNAMED = "images in the folder that no record names"
BESIDE = "files beside the data that hold no records"
SMALL = "images of classes with too few of them"

_FILE_READERS: dict[str, FileReader] = {
    "llava": read_llava,
    "table": read_table,
    "parquet": read_parquet,
    "webdataset": read_webdataset,
}
_SAVED = ("dataset_dict.json", "state.json")
_KNOWN = (
    "known are folders of images by class, LLaVA .json, .jsonl, .csv or .tsv tables, .parquet, "
    "WebDataset .tar, and folders saved by the datasets library"
)


@dataclass(frozen=True)
class _Found:
    """What a path holds: a format and, unless it is read as a whole, the files to read."""

    kind: Format
    files: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()


def read_records(path: Path | str, options: ReadOptions | None = None) -> RecordSet:
    """Read a data set of any known format.

    A folder may hold one file or one per split (``train.json``, ``test-00000-of-00002.parquet``);
    the split is what the file name begins with, or else the folder it lies in.

    Raises:
        DataError: nothing known, more than one thing, or bad content; see the readers.
        FileNotFoundError: no such path.
    """
    path, options = Path(path), options or ReadOptions()
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {shown(path)}")
    if shown(path) != str(path):
        raise DataError(Place(path), "the path is not UTF-8; rename it")
    account = Account()
    found = _detect(path, options, account)
    if found.kind == "hf_disk":
        records = read_hf_disk(path, options)
    elif found.kind == "image_folder":
        records = read_image_folder(path, options)
    else:
        parts = []
        for file in found.files:
            require_whole(file)
            with failures_at(Place(file)):
                parts.append(_FILE_READERS[found.kind](file, options, _split_of(file, path)))
        records = _joined(path, parts)
        records.account.include(account)
        _warn_of_unnamed(records, found.images)
    records = records.mapped(options.pixel_range)
    if options.min_images > 1:
        records = without_small_classes(records, options.min_images)
    return without_corrupt(records) if options.skip_corrupt else records


def _detect(path: Path, options: ReadOptions, account: Account) -> _Found:
    if path.is_file():
        return _Found(options.format or _format_of(path), (path,))
    if options.format in ("image_folder", "hf_disk"):
        return _Found(options.format)
    if options.format is None and any((path / name).is_file() for name in _SAVED):
        return _Found("hf_disk")
    everything = walk(path, account)
    images = tuple(f for f in everything if kind_of(f.name) == "image")
    data = [f for f in everything if kind_of(f.name) in ("json", "csv", "parquet", "webdataset")]
    files = _nearest(path, data, bool(images))
    if not files:
        if images or any(is_unread_image(f.name) for f in everything):
            return _Found(options.format or "image_folder")
        seen = ", ".join(shown(f.relative_to(path)) for f in everything[:4])
        what = f"nothing known in it, only {seen}" if seen else "an empty folder"
        raise DataError(Place(path), f"{what}; {_KNOWN}")
    for file in everything:
        if file not in files and kind_of(file.name) != "image":
            account.skip(BESIDE, file)
    if options.format is not None:
        return _Found(options.format, tuple(files), images)
    _require_no_class_folders(path, files, images)
    kinds: set[Format] = {_format_of(f) for f in files}
    if len(kinds) > 1:
        names = ", ".join(shown(f.relative_to(path)) for f in files[:6])
        raise DataError(
            Place(path),
            f"holds data of several formats ({', '.join(sorted(kinds))}): {names}; name one file",
        )
    splits = [_split_of(f, path) for f in files]
    if len(files) > 1 and None in splits and kinds <= {"llava", "table"}:
        raise DataError(
            Place(path),
            f"holds several annotation files, and {shown(files[splits.index(None)].name)} names no "
            "split; name one file, or begin each name with train, val or test",
        )
    return _Found(kinds.pop(), tuple(files), images)


def _nearest(path: Path, data: list[Path], has_images: bool) -> list[Path]:
    """The data files that count: those at the top, else those in ``data/``, as repositories of
    data sets have them, else, where there are no images, those that lie deeper."""
    data = [f for f in data if f.parent != path or kind_of(f.name) != "about"]
    for folder in (path, path / "data"):
        inside = [f for f in data if f.parent == folder]
        if inside:
            return inside
    return [] if has_images else data


def _split_of(file: Path, root: Path) -> str | None:
    """The split a file's name begins with, or else the nearest folder's."""
    named = split_of_file(stem(file.name))
    folders = file.parent.relative_to(root).parts if file != root and root in file.parents else ()
    return named or next((split for f in reversed(folders) if (split := split_name(f))), None)


def _require_no_class_folders(path: Path, files: list[Path], images: tuple[Path, ...]) -> None:
    """Refuse annotation files beside ``train/<class>/`` folders: they may say two things."""
    by_class = [
        image
        for image in images
        if len(parts := image.relative_to(path).parts) > 2 and split_name(parts[0])
    ]
    if by_class and None in [split_of_file(stem(f.name)) for f in files]:
        folders = sorted({f"{image.relative_to(path).parts[0]}/" for image in by_class})
        raise DataError(
            Place(path),
            f"holds {shown(files[0].name)} and images by class in {', '.join(folders)}; say which "
            "one counts: --format image_folder, or name the file itself",
        )


def _format_of(file: Path) -> Format:
    kind = kind_of(file.name)
    if file.suffix.lower() == ".gz" and kind in ("json", "csv"):
        raise DataError(Place(file), "a compressed table; unpack it with gunzip")
    if kind in ("parquet", "webdataset"):
        return kind
    if kind == "csv":
        return "table"
    if kind not in ("json", "about"):
        ending = suffix(file.name)
        raise DataError(Place(file), f"unknown kind of file {ending!r}; {_KNOWN}")
    require_whole(file)
    with failures_at(Place(file)):
        for _, entry in read_objects(file):
            return "llava" if "conversations" in entry else "table"
    raise DataError(Place(file), "holds no records")


def _joined(path: Path, parts: list[RecordSet]) -> RecordSet:
    if not parts:
        raise DataError(Place(path), f"no file to read; {_KNOWN}")
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    if len(parts) > 1:
        named = [f"{p.path.name} ({_split_of(p.path, path) or 'no split'})" for p in parts]
        more = ", ..." if len(named) > 6 else ""
        notes[f"{len(parts)} files: {shown(', '.join(named[:6]))}{more}"] = None
    records = [record for part in parts for record in part]
    joined = RecordSet(path, parts[0].format, records, tuple(notes))
    for part in parts:
        joined.account.include(part.account)
    return joined


def _warn_of_unnamed(records: RecordSet, images: tuple[Path, ...]) -> None:
    named = {r.image.path for r in records if isinstance(r.image, ImageFile)}
    if named:
        for image in images:
            if image not in named:
                records.account.warn(UNNAMED, image)


def without_small_classes(records: RecordSet, least: int) -> RecordSet:
    """Leave out the classes with fewer than ``least`` images; they go to the account.

    Raises:
        DataError: none is left.
    """
    if not records.labelled:
        return records
    count = dict.fromkeys(records.labels, 0)
    for record in records:
        count[record.label or ""] += 1
    for record in records:
        if count[record.label or ""] < least:
            found = count[record.label or ""]
            records.account.skip(SMALL, record.place, f"class {record.label!r} has {found}")
    kept = [record for record in records if count[record.label or ""] >= least]
    return replace(records, records=kept)


def without_corrupt(records: RecordSet) -> RecordSet:
    """Decode every image; those that are missing or damaged are left out and go to the account.

    Raises:
        DataError: none is left, or an image cannot be read for another reason.
    """
    report = ImageReport(records.account, skip=True)
    good = [record for record in records if report.image(record) is not None]
    report.close()
    return replace(records, records=good)
