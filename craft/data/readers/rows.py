"""A row of any table as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from craft.data.readers.columns import Columns
from craft.data.readers.image import EncodedImage
from craft.data.readers.labels import label_of
from craft.data.readers.place import Place
from craft.data.readers.record import Record


def record_of(
    row: Mapping[str, Any],
    columns: Columns,
    image: EncodedImage,
    place: Place,
    *,
    default_id: str,
    class_names: Sequence[str] | None = None,
    split: str | None = None,
) -> Record:
    """The record of one row.

    Args:
        row: column name -> value; the image's own value is not looked at.
        default_id: if the row has none.
        class_names: what numbers in the label column stand for.
        split: if the row has none.

    Raises:
        DataError: a value is missing or not what its column must hold.
    """
    columns.require([*row, columns.image], place)
    filled = dict.fromkeys(columns.names) | dict(row)
    key = filled[columns.id] if columns.id else None
    return Record(
        id=default_id if key in (None, "") else str(key),
        image=image,
        place=place,
        label=label_of(filled[columns.label], class_names, place) if columns.label else None,
        turns=columns.turns(filled, place),
        captions=columns.captions(filled),
        split=columns.split_of(filled, place) or split,
    )
