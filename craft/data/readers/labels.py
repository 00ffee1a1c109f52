"""Class labels as tables write them: names, or numbers of names given elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from craft.data.readers.answers import number_in
from craft.data.readers.place import DataError, Place


def label_of(value: Any, names: Sequence[str] | Mapping[str, str] | None, place: Place) -> str:
    """The class of a cell; the same for 3 and for "3".

    Args:
        names: what numbers stand for, counted from 0. A table of label -> name changes no label:
            the name is what questions say.

    Raises:
        DataError: empty, neither text nor whole number, or a number beyond the names.
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
    """Whether all labels are whole numbers, which say nothing to a language model."""
    found = list(labels)
    return bool(found) and all(number_in(label) is not None for label in found)
