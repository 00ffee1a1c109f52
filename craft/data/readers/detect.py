"""Detects the format of a data set and reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from craft.data.readers.account import Account
from craft.data.readers.file_kinds import Kind, is_packed_shard, kind_of, stem, suffix
from craft.data.readers.foreign_links import hide_foreign
from craft.data.readers.hf_disk import read_hf_disk
from craft.data.readers.image import ImageFile
from craft.data.readers.image_folder import read_image_folder
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.image_report import ImageReport
from craft.data.readers.json_lines import read_objects
from craft.data.readers.options import Format, ReadOptions
from craft.data.readers.parquet import ParquetFile
from craft.data.readers.parts_in_paths import warn_of_parts_in_paths
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.rows import Source, names_given, records_of
from craft.data.readers.splits import split_name, split_of_file
from craft.data.readers.table import TableFile, text_of_file
from craft.data.readers.walk import require_whole, walk
from craft.data.readers.webdataset import WebDatasetShard
from craft.runtime.regular_files import require_regular

_FORMATS: dict[Kind, Format] = {
    "json": "table",
    "csv": "table",
    "parquet": "parquet",
    "webdataset": "webdataset",
}
_SAVED = ("dataset_dict.json", "state.json")

#: Reasons in the account.
BESIDE = "files beside the data that contain no records or are of an unsupported kind"
UNNAMED = "images in the folder that no record names"
SMALL = "images of classes with too few images"


def read_records(path: Path | str, options: ReadOptions | None = None) -> RecordSet:
    """Read a data set of any known format.

    A folder may contain one file, or one or more per split (``train.json``,
    ``test-00000-of-00002.parquet``). The split is the one that the file name begins with, otherwise
    that of the nearest folder.

    Raises:
        DataError: the path contains no known format, several formats, or invalid content; see the
            readers.
        FileNotFoundError: the path does not exist.
        CraftError: the path is a FIFO, a device or a socket.
    """
    path, options = Path(path), options or ReadOptions()
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {shown(path)}")
    for named in (path, options.images):
        if named is not None and shown(named) != str(named):  # no manifest could hold it
            raise DataError(Place(named), "the path is not UTF-8; rename it")
    if not path.is_dir():
        require_regular(path)
    account = Account()
    try:
        kind, files, inside = _detect(path, options, account)
        if kind == "hf_disk":
            records = read_hf_disk(path, options, account)
        elif kind == "image_folder":
            records = read_image_folder(path, account, inside)
        else:
            records = _read_files(path, kind, files, inside, options, account)
    except DataError as error:
        error.account = account.summary(0)
        hide_foreign(path, error)
        raise
    if options.min_images > 1:
        records = without_small_classes(records, options.min_images)
    records = records.mapped(options.pixel_range)
    return without_corrupt(records) if options.skip_corrupt else records


def _read_files(
    path: Path,
    kind: Format,
    files: list[Path],
    inside: list[Path],
    options: ReadOptions,
    account: Account,
) -> RecordSet:
    if not files:
        raise DataError(Place(path), f"no file to read; {_KNOWN}")
    splits = [_part_of(path, file) for file in files]
    sources: list[Source] = []
    tables: list[TableFile] = []
    for file, split in zip(files, splits, strict=True):
        if kind == "parquet":
            sources.append(ParquetFile(file, split, options.images))
        elif kind == "webdataset":
            sources.append(WebDatasetShard(file, split, account))
        else:
            tables.append(TableFile(file, options, split))
    records, notes = records_of([*sources, *tables], options, account)
    notes += dict.fromkeys(table.image_note() for table in tables)
    if len(files) > 1:
        named = [f"{f.name} ({s or 'no split'})" for f, s in zip(files, splits, strict=True)]
        more = ", ..." if len(named) > 6 else ""
        notes.append(f"{len(files)} files: {', '.join(named[:6])}{more}")
    if path.is_dir() and tables:
        _warn_of_unnamed(inside, records, account)
    base = options.images or (path if path.is_dir() else path.parent)
    warn_of_parts_in_paths(records, account, base)
    given = names_given([*sources, *tables], options)
    return RecordSet(path, kind, records, tuple(notes), account, given)


def _warn_of_unnamed(inside: list[Path], records: Sequence[Record], account: Account) -> None:
    named = {record.image.path for record in records if isinstance(record.image, ImageFile)}
    if named:
        for file in inside:
            if kind_of(file.name) == "image" and file not in named:
                account.warn(UNNAMED, file)


def _part_of(root: Path, file: Path) -> str | None:
    """The split that a file's name begins with, otherwise that of the nearest folder below root.

    Raises:
        DataError: the name and the folders give different splits.
    """
    named = split_of_file(stem(file.name))
    folders = file.relative_to(root).parts[:-1] if file != root else ()
    above = {part for part in map(split_name, folders) if part}
    if len(above | {named} - {None}) > 1:
        raise DataError(
            Place(file),
            f"its name and folders give several splits, {sorted(above | {named or ''})}",
        )
    return named or (above.pop() if above else None)


def _detect(
    path: Path, options: ReadOptions, account: Account
) -> tuple[Format, list[Path], list[Path]]:
    """Return the format of ``path``, the files to read, and all files inside.

    The lists are empty for formats that are read as a whole.
    """
    if path.is_file():
        return options.format or _format_of(path), [path], []
    if options.format == "hf_disk":
        return "hf_disk", [], []
    if options.format is None and any((path / name).is_file() for name in _SAVED):
        return "hf_disk", [], []
    inside = walk(path, account)
    if options.format == "image_folder":
        return "image_folder", [], inside
    readable = [f for f in inside if kind_of(f.name) in _FORMATS]
    files = [f for f in readable if f.parent == path]
    if not files:  # the layout of data set repositories: data/, or configuration/split/
        files = [f for f in readable if kind_of(f.name) in {"parquet", "webdataset"}]
        _require_one_configuration(path, files)
    if options.format is not None:
        wanted = [f for f in files if _fits(f, options.format)]
        if options.format == "webdataset":
            _refuse_packed_shards(inside)
        _refuse_lost_parts(path, inside, wanted)
        return options.format, wanted, inside
    kinds: set[Format] = {_FORMATS[kind_of(f.name)] for f in files}
    names = ", ".join(shown(f.name) for f in files[:6])
    if len(kinds) > 1:
        raise DataError(
            Place(path),
            f"contains data of several formats ({', '.join(sorted(kinds))}): {names}; name one "
            "file",
        )
    if kinds == {"table"}:
        _refuse_folders_of_parts(path, inside, names)
        splits = [split_of_file(stem(f.name)) for f in files]
        if len(files) > 1 and None in splits:
            raise DataError(
                Place(path),
                f"contains several annotation files, and {files[splits.index(None)].name} names "
                "no split; name one file, or begin each name with train, val or test",
            )
    if kinds == {"webdataset"} or not (kinds or any(is_image_name(f.name) for f in inside)):
        _refuse_packed_shards(inside)
    if kinds:
        _refuse_lost_parts(path, inside, files)
        for file in sorted(set(inside) - set(files)):
            if kind_of(file.name) != "image":
                account.skip(BESIDE, file)
        return (_format_of(files[0]) if kinds == {"table"} else kinds.pop()), files, inside
    if any(f.is_dir() for f in path.iterdir()) or any(is_image_name(f.name) for f in inside):
        _refuse_lost_parts(path, inside, [f for f in inside if kind_of(f.name) == "image"])
        return "image_folder", [], inside
    raise DataError(Place(path), f"an empty folder, or one without any known format; {_KNOWN}")


def _fits(file: Path, format: Format) -> bool:
    return _FORMATS[kind_of(file.name)] == ("table" if format == "llava" else format)


def _require_one_configuration(root: Path, files: list[Path]) -> None:
    """Refuse files in several folders, apart from those of splits: they are several data sets."""
    folders = {tuple(p for p in f.relative_to(root).parts[:-1] if not split_name(p)) for f in files}
    if len(folders) > 1:
        names = sorted("/".join(folder) or "." for folder in folders)
        raise DataError(
            Place(root), f"contains several data sets, in {', '.join(names[:6])}; name one of them"
        )


def _refuse_folders_of_parts(root: Path, inside: list[Path], tables: str) -> None:
    """Refuse a table beside ``train/<class>/`` and the like: only one of the two can be read."""
    for file in inside:
        parts = file.relative_to(root).parts
        if len(parts) > 2 and split_name(parts[0]) and kind_of(file.name) == "image":
            raise DataError(
                Place(root),
                f"contains {tables} and folders of images by class such as {parts[0]}/{parts[1]}/; "
                "read the folders with --format image_folder, or name the file",
            )


def _refuse_lost_parts(root: Path, inside: list[Path], read: list[Path]) -> None:
    """Refuse to draw a split while a file that is not read contains that split."""
    parts = {_part_of(root, file) for file in read if kind_of(file.name) != "image"}
    parts |= {split_name(p) for f in read for p in f.relative_to(root).parts[:-1]}
    for file in sorted(set(inside) - set(read)):
        kind = kind_of(file.name)
        part = split_of_file(stem(file.name))
        if part and part not in parts and kind in {*_FORMATS, "unread"}:
            raise DataError(
                Place(file),
                f"the {part} split by its name, but it is not read and nothing else has that "
                f"split; convert it, move it away, or name what to read; {_KNOWN}",
            )


def _refuse_packed_shards(files: list[Path]) -> None:
    for file in files:
        if is_packed_shard(file.name):
            raise DataError(Place(file), "the shard is compressed; unpack it (gunzip)")


def _format_of(file: Path) -> Format:
    _refuse_packed_shards([file])
    kind = kind_of(file.name)
    if kind not in _FORMATS:
        raise DataError(Place(file), f"unknown kind of file {suffix(file.name)!r}; {_KNOWN}")
    if kind != "json":
        return _FORMATS[kind]
    require_whole(file)
    for _, entry in read_objects(file, text_of_file(file)):
        return "llava" if "conversations" in entry else "table"
    raise DataError(Place(file), "holds no records")


_KNOWN = (
    "known are folders of images by class, LLaVA .json, .jsonl, .csv or .tsv tables, .parquet, "
    "WebDataset .tar, and folders saved by the datasets library"
)


def without_small_classes(records: RecordSet, least: int) -> RecordSet:
    """Leave out classes with fewer than ``least`` images, and report them in the account.

    Raises:
        DataError: no images are left.
    """
    if not records.labelled:
        return records
    count = Counter(record.label for record in records)
    for record in records:
        if (found := count[record.label]) < least:
            records.account.skip(SMALL, record.place, f"class {record.label!r} has {found}")
    return replace(records, records=[r for r in records if count[r.label] >= least])


def without_corrupt(records: RecordSet) -> RecordSet:
    """Decode every image; leave out missing and damaged ones, and report them in the account.

    Raises:
        DataError: no images are left, or an image cannot be read for another reason.
    """
    report = ImageReport(records.account, skip=True)
    good = [record for record in records if report.image(record) is not None]
    try:
        report.close()
    except DataError as error:
        error.account = records.account.summary(len(good))
        raise
    return replace(records, records=good)
