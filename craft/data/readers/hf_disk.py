"""Data sets of the ``datasets`` library, saved with ``save_to_disk`` or already loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.readers.columns import Columns
from craft.data.readers.image_cells import image_bytes, require_one_image
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.rows import record_of
from craft.data.readers.splits import split_name
from craft.errors import MissingPackageError


@dataclass(frozen=True, eq=False)
class DatasetImage:
    """An image cell of a ``datasets.Dataset`` whose images are not decoded."""

    cells: Any
    column: str
    row: int
    folder: Path

    def read(self) -> bytes:
        return image_bytes(self.cells[self.row][self.column], self.folder)

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}"


def import_datasets() -> Any:
    """The ``datasets`` library. Raises ImportError with the way to get it."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(
            "this needs the datasets library: pip install 'datasets>=4'"
        ) from error
    return datasets


def read_hf_disk(path: Path, options: ReadOptions) -> RecordSet:
    """A folder that ``save_to_disk`` wrote, a Dataset or a DatasetDict.

    Raises:
        DataError: the folder cannot be loaded, or see :func:`read_hf`.
    """
    datasets = import_datasets()
    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(Place(path), f"datasets cannot load it: {error}") from error
    return read_hf(loaded, path, options)


def read_hf(loaded: Any, path: Path, options: ReadOptions) -> RecordSet:
    """A ``Dataset``, or a mapping of split name -> ``Dataset`` such as a ``DatasetDict``.

    Args:
        path: where it came from, for messages and relative image paths.

    Raises:
        DataError: splits of other names, no known columns, a bad value; with split and row.
    """
    parts = loaded if isinstance(loaded, Mapping) else {"": loaded}
    records: list[Record] = []
    notes: list[str] = []
    empty = 0
    for name, dataset in parts.items():
        split = split_name(name)
        if name and split is None:
            raise DataError(Place(path), f"splits must be train, val or test, got {sorted(parts)}")
        columns = options.columns or Columns.of(dataset.column_names, Place(path, part=name))
        columns.require(dataset.column_names, Place(path, part=name))
        notes = notes or [columns.sentence()]
        cells = _undecoded(dataset.select_columns([columns.image]), columns.image)
        rows = dataset.select_columns(
            [n for n in columns.names if n in dataset.column_names and n != columns.image]
        )
        feature = dataset.features.get(columns.label)
        for i in range(len(dataset)):
            place = Place(path, part=f"{name} row {i}".strip())
            if not columns.wanted(row := rows[i]):
                continue
            if not require_one_image(cells[i][columns.image], place):
                empty += 1
                continue
            records.append(
                record_of(
                    row,
                    columns,
                    DatasetImage(cells, columns.image, i, path),
                    place,
                    default_id=f"{name or 'row'}:{i}",
                    class_names=options.class_names or getattr(feature, "names", None),
                    split=split,
                )
            )
    if empty:
        notes.append(f"{empty} rows without an image were left out")
    return RecordSet(path, "hf_disk", records, tuple(notes))


def _undecoded(cells: Any, column: str) -> Any:
    """The images as they are stored; the library would decode them in its own way."""
    datasets = import_datasets()
    feature = cells.features[column]
    raw = datasets.Image(decode=False)
    if isinstance(feature, datasets.Image):
        return cells.cast_column(column, raw)
    inner = getattr(feature, "feature", None)
    return cells.cast_column(column, datasets.List(raw)) if inner is not None else cells
