"""Class labels in tables: names, or indices of names given elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from craft.data.readers.answers import number_in
from craft.data.readers.place import DataError, Place


def label_of(value: Any, names: Sequence[str] | Mapping[str, str] | None, place: Place) -> str:
    """Return the class of a cell; 3 and "3" are the same.

    Args:
        names: names of numeric labels, counted from 0. A mapping of label -> name leaves labels
            unchanged; it gives the names in questions.

    Raises:
        DataError: the cell is empty, neither text nor whole number, or a number without a name.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(place, f"label must be a class name or number, got {value!r:.60}")
    text = str(value).strip()
    if names is None or isinstance(names, Mapping):
        return text
    number = number_in(text) if not text.startswith("-") else int(text)
    if number is None:
        if text in names:
            return text
        raise DataError(place, f"label {text!r:.60} is neither a number nor one of the class names")
    if not 0 <= number < len(names):
        raise DataError(place, f"label {number}, but there are {len(names)} class names, from 0")
    return names[number]


def are_numbers(labels: Iterable[str]) -> bool:
    """Whether all labels are whole numbers, which mean nothing to a language model."""
    found = list(labels)
    return bool(found) and all(number_in(label) is not None for label in found)
