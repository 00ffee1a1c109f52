"""Class labels as tables write them: names, or numbers of names given elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from craft.data.readers.place import DataError, Place


def label_of(value: Any, names: Sequence[str] | None, place: Place) -> str:
    """The class of a cell.

    Args:
        names: what numbers stand for, counted from 0.

    Raises:
        DataError: empty, a number without names, or beyond them.
    """
    if isinstance(value, str) and value.strip() and names is None:
        return value.strip()
    number = value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool):
        if isinstance(value, str) and names and value.strip() in names:
            return value.strip()
        raise DataError(place, f"label must be a class name or number, got {value!r:.60}")
    if names is None:
        raise DataError(
            place,
            f"label {number} is a number and the data does not say what it stands for; give the "
            "class names in order (--class-names FILE)",
        )
    if not 0 <= number < len(names):
        raise DataError(place, f"label {number}, but there are {len(names)} class names, from 0")
    return names[number]
