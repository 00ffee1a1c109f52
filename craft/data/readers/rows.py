"""Conversion of rows to records, shared by all formats except image folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from craft.data.readers.account import UNREADABLE, Account
from craft.data.readers.answers import Choice, Numbers, how_numbers_count
from craft.data.readers.columns import Columns
from craft.data.readers.conversation import IMAGE_TOKEN
from craft.data.readers.faults import Faults, failures_at
from craft.data.readers.image import EncodedImage
from craft.data.readers.image_cells import require_one_image
from craft.data.readers.labels import label_of
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record
from craft.data.readers.row_values import captions_of, choice_of, split_of, turns_of

NO_IMAGE = "rows without an image"


class MissingImage(DataError):
    """The image file that a row names is missing or empty."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        values: column name -> value; the value of the image column is ignored. If the row has no
            image, other columns that may contain images are included.
        image: returns the image, or None if the row has none. May raise.
        default_id: the id, if the row has none.
        split: the split, if the row has none.
        class_names: names of the numbers in the label column, if the data contains them.
    """

    values: Mapping[str, Any]
    image: Callable[[], EncodedImage | None]
    place: Place
    default_id: str
    split: str | None = None
    class_names: Sequence[str] | None = None


def cell_image(cell: Any, image: EncodedImage, place: Place) -> Callable[[], EncodedImage | None]:
    """Make a function that returns the image of an Arrow cell, without keeping the cell's bytes.

    Args:
        image: an image that reads the cell again.
    """
    try:
        with failures_at(place):
            there = require_one_image(cell, place)
    except DataError as error:
        return partial(_raise, error)
    return lambda: image if there else None


def _raise(error: DataError) -> None:
    raise error


class Source(Protocol):
    """A file, or one split of a saved data set, as a table."""

    @property
    def place(self) -> Place:
        """The place of its columns, for error messages."""
        ...

    def column_names(self) -> list[str]:
        """The names of all columns that occur in any row. May raise."""
        ...

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Iterate over the rows in order. May raise, which ends the source."""
        ...

    def names_classes(self) -> bool:
        """Whether it contains names for the numbers in its label column."""
        ...

    def notes(self) -> list[str]:
        """Describe how it was understood, in sentences; called after its rows were read."""
        ...


def records_of(
    sources: Sequence[Source], options: ReadOptions, account: Account
) -> tuple[list[Record], list[str]]:
    """Read the records of all sources, with notes on how they were understood.

    Columns are recognised in each source by the names in any of its rows; numeric answers are read
    the same way in all sources.

    Raises:
        DataError: rows are invalid; one error reports all of them.
    """
    faults = Faults()
    rows: list[tuple[Row, Columns]] = []
    notes: list[str] = []
    for source in sources:
        with faults.collected(source.place):
            columns = options.columns or Columns.of(source.column_names(), source.place)
            rows += [(row, columns) for row in source.rows(columns) if columns.wanted(row.values)]
            notes += [columns.sentence(), *source.notes()]
    faults.raise_if_any()
    numbers = _numbers(rows, options)
    records = []
    for row, columns in rows:
        with faults.collected(row.place):
            record = _record(row, columns, options, numbers, account)
            if record is not None:
                records.append(record)
    faults.raise_if_any()
    _warn_of_bare_letters(records, account)
    return records, list(dict.fromkeys(notes))


def names_given(sources: Sequence[Source], options: ReadOptions) -> bool:
    """Whether the user or the sources give names for numeric labels."""
    return options.class_names is not None or any(s.names_classes() for s in sources)


def _filled(row: Row, columns: Columns) -> dict[str, Any]:
    return dict.fromkeys(columns.names) | dict(row.values)


def _numbers(rows: Sequence[tuple[Row, Columns]], options: ReadOptions) -> Numbers:
    """Decide from all rows how numeric answers are read; invalid rows are reported later."""
    choices: list[Choice] = []
    for row, columns in rows:
        try:
            with failures_at(row.place):
                choice = choice_of(columns, _filled(row, columns), row.place)
        except DataError:
            continue
        if choice is not None:
            choices.append(choice)
    return how_numbers_count(choices, options.numbers)


def _record(
    row: Row, columns: Columns, options: ReadOptions, numbers: Numbers, account: Account
) -> Record | None:
    columns.require_one_name(row.values, row.place)
    values = _filled(row, columns)
    try:
        image = row.image()
    except MissingImage as error:
        if not options.skip_corrupt:
            raise
        account.skip(UNREADABLE, error.place, error.problem)
        return None
    if image is None:
        columns.require_no_other_image(row.values, row.place)
        talk = values.get(columns.conversations or columns.messages or "")
        if IMAGE_TOKEN in str(talk) or "'type': 'image'" in str(talk):
            raise DataError(row.place, f"{IMAGE_TOKEN} in the conversation but no image")
        account.skip(NO_IMAGE, row.place)
        return None
    columns.require({**row.values, columns.image: None}, row.place)
    key = values[columns.id] if columns.id else None
    names = options.class_names or row.class_names
    return Record(
        id=row.default_id if key in (None, "") else str(key),
        image=image,
        place=row.place,
        label=label_of(values[columns.label], names, row.place) if columns.label else None,
        turns=turns_of(columns, values, row.place, numbers),
        captions=captions_of(columns, values),
        split=split_of(columns, values, row.place) or row.split,
    )


def _warn_of_bare_letters(records: Sequence[Record], account: Account) -> None:
    """Warn if all answers are single letters: their options were probably not found."""
    turns = [turn for record in records for turn in record.turns]
    letters = [t for t in turns if not t.options and len(t.answer) == 1 and t.answer in "ABCDEFGH"]
    if turns and len(letters) == len(turns) and not any(turn.worded for turn in turns):
        account.warn(
            "data sets whose answers are all letters although no column contains options",
            records[0].place,
        )
