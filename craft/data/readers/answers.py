"""Which option an answer means: one rule for every format.

An answer is an option's text, its letter, or its number. Numbers count from 0 or from 1, and
options may be numbers themselves; a data set means one of the three throughout. Those readings
count for which every numeric answer of the data set is an option. If they disagree about any
question, the data is refused unless the user says how to count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from craft.data.readers.place import DataError, Place

#: How numeric answers are meant: as an option's text, or as its number counted from 0 or 1.
Numbers = Literal["text", 0, 1]

_NUMBER = re.compile(r"(\d{1,6})(\.0+)?")
_SAID = {"text": "as texts", 0: "as numbers from 0", 1: "as numbers from 1"}


@dataclass(frozen=True)
class Choice:
    """An answer as written, and the options it chooses from."""

    answer: str
    options: tuple[str, ...]
    place: Place

    def meant(self, numbers: Numbers) -> int | None:
        """The row of the option that a numeric answer means; None if it means none."""
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
    """The whole number that a text is.

    >>> number_in("3"), number_in("3.0"), number_in("3.5"), number_in("B")
    (3, 3, None, None)
    """
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match and text.isascii() else None


def how_numbers_count(choices: Sequence[Choice], said: Numbers | None = None) -> Numbers:
    """How the numeric answers of a data set are meant.

    Args:
        said: by the user, if so.

    Raises:
        DataError: two readings fit all of them and disagree.
    """
    if said is not None:
        return said
    numeric = [choice for choice in choices if number_in(choice.answer) is not None]
    ways: tuple[Numbers, ...] = ("text", 0, 1)
    readings: dict[Numbers, list[int | None]] = {
        way: [choice.meant(way) for choice in numeric] for way in ways
    }
    fit: list[Numbers] = [numbers for numbers, rows in readings.items() if None not in rows]
    if not fit:  # the first answer that the most fitting reading cannot explain will be told
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
                    "fit both; write the options' letters or texts, or say how numbers count: "
                    "--numbers text, 0 or 1 (in Python, ReadOptions(numbers=...))",
                )
    return first


def option_of(choice: Choice, numbers: Numbers) -> str:
    """The option an answer means: by text, by letter, or by number.

    Raises:
        DataError: it is none of them, or means two different ones.
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
    """A cell as a text without white space around it; numbers are written out.

    Raises:
        DataError: empty, or neither text nor number.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(place, f"{what} must be a text, got {value!r:.60}")
    return value.strip()
