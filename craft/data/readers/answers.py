"""Which option an answer means: one rule for all formats.

An answer is an option's text, letter or number. A numeric answer can be read in three ways: as a
number counted from 0, as one counted from 1, or as the text of an option. A data set uses one of
them throughout, and a reading is possible if it makes every numeric answer an option. If possible
readings disagree about any question, the data is refused unless the user chooses one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from craft.data.readers.place import DataError, Place

#: How numeric answers are read: as an option's text, or as its number counted from 0 or 1.
Numbers = Literal["text", 0, 1]

_NUMBER = re.compile(r"(\d{1,6})(\.0+)?")
_SAID = {"text": "as texts", 0: "as numbers from 0", 1: "as numbers from 1"}


@dataclass(frozen=True)
class Choice:
    """An answer as written in the data, and its options."""

    answer: str
    options: tuple[str, ...]
    place: Place

    def meant(self, numbers: Numbers) -> int | None:
        """Return the index of the option that a numeric answer means; None if there is none."""
        number = number_in(self.answer)
        if number is None:
            return None
        if numbers == "text":
            texts = [number_in(option) for option in self.options]
            same = self.options.index(self.answer) if self.answer in self.options else None
            found = [i for i, text in enumerate(texts) if text == number]
            return same if same is not None else (found[0] if len(found) == 1 else None)
        row = number - numbers
        return row if 0 <= row < len(self.options) else None


def number_in(text: str) -> int | None:
    """Parse a text as a non-negative integer; None if it is not one.

    >>> number_in("3"), number_in("3.0"), number_in("3.5"), number_in("B")
    (3, 3, None, None)
    """
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match and text.isascii() else None


def how_numbers_count(choices: Sequence[Choice], said: Numbers | None = None) -> Numbers:
    """Decide how the numeric answers of a data set are read.

    Args:
        said: the user's choice, if any.

    Raises:
        DataError: two readings fit all answers but disagree.
    """
    if said is not None:
        return said
    numeric = [choice for choice in choices if number_in(choice.answer) is not None]
    ways: tuple[Numbers, ...] = ("text", 0, 1)
    readings: dict[Numbers, list[int | None]] = {
        way: [choice.meant(way) for choice in numeric] for way in ways
    }
    fit: list[Numbers] = [numbers for numbers, rows in readings.items() if None not in rows]
    if not fit:  # the best reading, so that the first answer it cannot explain is reported
        explained = [sum(row is not None for row in readings[way]) for way in ways]
        return ways[explained.index(max(explained))]
    first = fit[0]
    for other in fit[1:]:
        for choice, a, b in zip(numeric, readings[first], readings[other], strict=True):
            if a is not None and b is not None and a != b:
                raise DataError(
                    choice.place,
                    f"answer {choice.answer!r} means {choice.options[a]!r} if answers are read "
                    f"{_SAID[first]} and {choice.options[b]!r} if {_SAID[other]}, and all answers "
                    "fit both; write the options' letters or texts, or say how to read numbers: "
                    "--numbers text, 0 or 1 (in Python, ReadOptions(numbers=...))",
                )
    return first


def option_of(choice: Choice, numbers: Numbers) -> str:
    """Return the option that an answer means by text, letter or number.

    Raises:
        DataError: it means no option, or two different ones.
    """
    answer, options, place = choice.answer, choice.options, choice.place
    if number_in(answer) is not None:
        row = choice.meant(numbers)
        if row is None:
            how = "by text" if numbers == "text" else f"by number from {numbers}"
            raise DataError(place, f"answer {answer} is not one of (read {how}): {list(options)}")
        return options[row]
    meant = {answer} & set(options)
    if len(answer) == 1 and 0 <= ord(answer) - ord("A") < len(options):
        meant.add(options[ord(answer) - ord("A")])
    if len(meant) != 1:
        problem = "means two options, by text and by letter" if meant else "is not one of"
        raise DataError(place, f"answer {answer!r:.60} {problem}: {list(options)}")
    return meant.pop()


def text_of(value: Any, what: str, place: Place) -> str:
    """Convert a cell to text, stripped of white space; numbers are written out.

    Raises:
        DataError: the cell is empty, or neither text nor number.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(place, f"{what} must be a text, got {value!r:.60}")
    return value.strip()
