"""One call that reads any known kind of data: what a path holds, and the reader for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from craft.data.readers.hf_disk import read_hf_disk
from craft.data.readers.image_folder import read_image_folder
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.image_report import ImageReport
from craft.data.readers.json_lines import read_objects
from craft.data.readers.llava import read_llava
from craft.data.readers.options import Format, ReadOptions
from craft.data.readers.parquet import read_parquet
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import RecordSet
from craft.data.readers.splits import split_of_file
from craft.data.readers.table import read_table
from craft.data.readers.webdataset import read_webdataset

FileReader = Callable[[Path, ReadOptions, str | None], RecordSet]

_FILE_READERS: dict[str, FileReader] = {
    "llava": read_llava,
    "table": read_table,
    "parquet": read_parquet,
    "webdataset": read_webdataset,
}
_SUFFIXES: dict[str, Format] = {
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "parquet",
    ".tar": "webdataset",
}
_JSON = {".json", ".jsonl"}
_SAVED = ("dataset_dict.json", "state.json")


def read_records(path: Path | str, options: ReadOptions | None = None) -> RecordSet:
    """Read a data set of any known format.

    A folder may hold one file or one a split (``train.json``, ``test-00000-of-00002.parquet``);
    the split is what the file name begins with.

    Raises:
        DataError: nothing known, more than one thing, or bad content; see the readers.
        FileNotFoundError: no such path.
    """
    path, options = Path(path), options or ReadOptions()
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    kind, files = _detect(path, options)
    if kind == "hf_disk":
        records = read_hf_disk(path, options)
    elif kind == "image_folder":
        records = read_image_folder(path, options)
    else:
        read = _FILE_READERS[kind]
        records = _joined(path, [read(f, options, split_of_file(f.stem)) for f in files])
    records = records.mapped(options.pixel_range)
    return without_corrupt(records) if options.skip_corrupt else records


def _detect(path: Path, options: ReadOptions) -> tuple[Format, list[Path]]:
    """The format of ``path`` and, unless it is read as a whole, the files to read."""
    if path.is_file():
        return options.format or _format_of(path), [path]
    if options.format == "image_folder" or options.format == "hf_disk":
        return options.format, []
    if options.format is None and any((path / name).is_file() for name in _SAVED):
        return "hf_disk", []
    inside = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
    if not inside and (path / "data").is_dir():  # as repositories of data sets are laid out
        inside = sorted((path / "data").glob("*.*"))
    files = [f for f in inside if f.suffix in _SUFFIXES or f.suffix in _JSON]
    if options.format is not None:
        return options.format, files
    kinds: set[Format] = {_format_of(f) for f in files}
    if len(kinds) > 1:
        names = ", ".join(f.name for f in files[:6])
        raise DataError(
            Place(path),
            f"holds data of several formats ({', '.join(sorted(kinds))}): {names}; name one file",
        )
    splits = [split_of_file(f.stem) for f in files]
    if len(files) > 1 and None in splits and kinds <= {"llava", "table"}:
        raise DataError(
            Place(path),
            f"holds several annotation files, and {files[splits.index(None)].name} names no split; "
            "name one file, or begin each name with train, val or test",
        )
    if kinds:
        return kinds.pop(), files
    if any(f.is_dir() for f in path.iterdir()) or any(is_image_name(f.name) for f in inside):
        return "image_folder", []
    raise DataError(Place(path), f"an empty folder or nothing known in it; {_KNOWN}")


def _format_of(file: Path) -> Format:
    if file.suffix in _SUFFIXES:
        return _SUFFIXES[file.suffix]
    if file.suffix not in _JSON:
        raise DataError(Place(file), f"unknown kind of file {file.suffix!r}; {_KNOWN}")
    for _, entry in read_objects(file):
        return "llava" if "conversations" in entry else "table"
    raise DataError(Place(file), "holds no records")


_KNOWN = (
    "known are folders of images by class, LLaVA .json, .jsonl, .csv or .tsv tables, .parquet, "
    "WebDataset .tar, and folders saved by the datasets library"
)


def _joined(path: Path, parts: list[RecordSet]) -> RecordSet:
    if not parts:
        raise DataError(Place(path), f"no file to read; {_KNOWN}")
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    if len(parts) > 1:
        named = [f"{p.path.name} ({split_of_file(p.path.stem) or 'no split'})" for p in parts]
        notes[f"{len(parts)} files: {', '.join(named[:6])}{', ...' if len(named) > 6 else ''}"] = (
            None
        )
    records = [record for part in parts for record in part]
    return RecordSet(path, parts[0].format, records, tuple(notes))


def without_corrupt(records: RecordSet) -> RecordSet:
    """Decode every image; those that are missing or damaged are left out and go to the account.

    Raises:
        DataError: none is left, or an image cannot be read for another reason.
    """
    report = ImageReport(records.account, skip=True)
    good = [record for record in records if report.image(record) is not None]
    report.close()
    return replace(records, records=good)
