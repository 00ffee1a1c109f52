"""Data sets of the ``datasets`` library, saved by ``save_to_disk`` or already loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.readers.account import Account
from craft.data.readers.columns import Columns
from craft.data.readers.faults import failures_at
from craft.data.readers.image_cells import holds_image, image_bytes, path_in
from craft.data.readers.options import ReadOptions
from craft.data.readers.parts_in_paths import warn_of_parts_in_paths
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import RecordSet
from craft.data.readers.rows import Row, cell_image, names_given, records_of
from craft.data.readers.splits import split_name
from craft.errors import MissingPackageError
from craft.runtime.inside import inside
from craft.runtime.json_cards import read_json


@dataclass(frozen=True, eq=False)
class DatasetImage:
    """An image cell of a ``datasets.Dataset`` whose images are not decoded."""

    cells: Any
    column: str
    row: int
    folder: Path
    named: str = ""
    root: Path | None = None

    def read(self) -> bytes:
        return image_bytes(self.cells[self.row][self.column], self.folder, self.root)

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}"


def import_datasets() -> Any:
    """Import the ``datasets`` library.

    Raises:
        MissingPackageError: it is not installed; the message tells how to install it.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(
            "this needs the datasets library: pip install 'datasets>=4'"
        ) from error
    return datasets


def read_hf_disk(path: Path, options: ReadOptions, account: Account | None = None) -> RecordSet:
    """Read a ``Dataset`` or ``DatasetDict`` that ``save_to_disk`` wrote to a folder.

    Args:
        account: collects what is skipped.

    Raises:
        DataError: the folder cannot be loaded, or refers to files outside; see also
            :func:`read_hf`.
    """
    datasets = import_datasets()
    _require_own_files(path)
    with failures_at(Place(path), "the datasets library cannot load it; save it again"):
        loaded = datasets.load_from_disk(str(path))
        for part in loaded.values() if isinstance(loaded, Mapping) else [loaded]:
            # Arrow trusts the offsets in a file it maps: a damaged file would crash the process.
            part.data.validate(full=True)
    return read_hf(loaded, path, options, account)


def _require_own_files(path: Path) -> None:
    """Raise DataError if the library's metadata name splits or files outside the folder."""
    with failures_at(Place(path), "the datasets library cannot load it; save it again"):
        parts = [path]
        if (listed := path / "dataset_dict.json").is_file():
            splits = read_json(listed, "the list of its parts").get("splits", ())
            parts = [inside(path, name, str(listed)) for name in splits]
        for part in parts:
            if (state := part / "state.json").is_file():
                for file in read_json(state, "the list of its files").get("_data_files", ()):
                    inside(part, file["filename"], str(state))


def read_hf(
    loaded: Any, path: Path, options: ReadOptions, account: Account | None = None
) -> RecordSet:
    """Read a ``Dataset``, or a mapping of split name -> ``Dataset`` such as a ``DatasetDict``.

    Args:
        path: where it was loaded from, for messages and relative image paths.
        account: collects what is skipped.

    Raises:
        DataError: a split name is unknown, columns are not recognised, or a value is invalid; the
            message names split and row.
    """
    parts = loaded if isinstance(loaded, Mapping) else {"": loaded}
    for name in parts:
        if name and split_name(name) is None:
            raise DataError(Place(path), f"splits must be train, val or test, got {sorted(parts)}")
    sources = [SavedPart(name, dataset, path, options.images) for name, dataset in parts.items()]
    account = account or Account()
    records, notes = records_of(sources, options, account)
    warn_of_parts_in_paths(records, account, None)
    return RecordSet(path, "hf_disk", records, tuple(notes), account, names_given(sources, options))


class SavedPart:
    """A ``Dataset`` that is the split ``name``; rows are counted from 0."""

    def __init__(self, name: str, dataset: Any, path: Path, images: Path | None = None) -> None:
        self.place = Place(path, part=name)
        self._name, self._dataset, self._path, self._images = name, dataset, path, images

    def column_names(self) -> list[str]:
        """The names of its features."""
        return list(self._dataset.column_names)

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Iterate over the rows; images are read on demand."""
        dataset, name = self._dataset, self._name
        columns.require(dataset.column_names, self.place)
        cells = _undecoded(dataset.select_columns([columns.image]), columns.image)
        rows = dataset.select_columns(
            [n for n in columns.names if n in dataset.column_names and n != columns.image]
        )
        spare = dataset.select_columns(columns.other_images(dataset.column_names))
        for other in spare.column_names:
            spare = _undecoded(spare, other)
        feature = dataset.features.get(columns.label)
        for i in range(len(dataset)):
            place = Place(self._path, part=f"{name} row {i}".strip())
            with failures_at(place, "the saved data set is damaged; save it again"):
                row, cell = rows[i], cells[i][columns.image]
                if spare.column_names and not holds_image(cell):
                    row = row | spare[i]
            image = DatasetImage(cells, columns.image, i, self._path, path_in(cell), self._images)
            yield Row(
                row,
                cell_image(cell, image, place),
                place,
                f"{name or 'row'}:{i}",
                split_name(name),
                getattr(feature, "names", None),
            )

    def notes(self) -> list[str]:
        """Empty: there is nothing to add about it."""
        return []

    def names_classes(self) -> bool:
        """Whether its features define class names."""
        return any(getattr(f, "names", None) for f in self._dataset.features.values())


def _undecoded(cells: Any, column: str) -> Any:
    """Make a column yield images as stored; the library would decode them differently."""
    datasets = import_datasets()
    feature = cells.features[column]
    raw = datasets.Image(decode=False)
    if isinstance(feature, datasets.Image):
        return cells.cast_column(column, raw)
    inner = getattr(feature, "feature", None)
    return cells.cast_column(column, datasets.List(raw)) if inner is not None else cells
