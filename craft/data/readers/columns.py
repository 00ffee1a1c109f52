"""The columns of a table, and how they are recognised by name."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from craft.data.readers.image_cells import holds_image
from craft.data.readers.place import DataError, Place

#: Possible names of each column, in order of preference.
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "index"),
    "image": (
        "image",
        "images",
        "image_path",
        "file_name",
        "filename",
        "filepath",
        "image_file",
        "img_path",
        "img",
    ),
    "question": ("question", "query"),
    "questions": ("questions",),
    "answer": ("answer",),
    "answers": ("answers",),
    "options": ("options", "choices"),
    "label": ("label", "class", "class_name", "category"),
    "caption": ("caption", "captions", "text", "title"),
    "split": ("split", "set_name"),
    "hint": ("hint",),
    "conversations": ("conversations",),
    "messages": ("messages",),
}
EXPECTED = (
    "an image column with question and answer, with label, with conversations or with messages "
    f"(an image column is called {', '.join(ALIASES['image'])})"
)


#: Names of columns with one option each: A B C, option_a, choice_a, optionA, opt1, option_1.
_OPTION = re.compile(r"(?:(?P<word>option|choice|opt)[ _-]?)?(?P<number>[a-z]|\d{1,2})", re.I)

#: Roles that a row may lack even if other rows have them.
_OPTIONAL = {"id", "options", "caption", "split", "hint"}
#: Roles whose column must have the same name in all rows; otherwise values would be lost.
_ONE_NAME = ("question", "answer", "options", "label", "split", "hint", "conversations", "messages")


class MissingColumn(DataError):
    """A table lacks a required column."""


@dataclass(frozen=True)
class Columns:
    """Column names of a table; None for columns that it does not have.

    ``questions`` and ``answers`` are lists of equal length (several questions per image), except
    that ``answers`` with a single ``question`` lists alternative right answers, of which the most
    frequent is used. ``options_separator`` splits options stored in one text; ``option_columns``
    are columns with one option each, in order. ``keep`` is a column and the values whose rows are
    read.
    """

    image: str
    id: str | None = None
    question: str | None = None
    questions: str | None = None
    answer: str | None = None
    answers: str | None = None
    options: str | None = None
    label: str | None = None
    caption: str | None = None
    split: str | None = None
    hint: str | None = None
    conversations: str | None = None
    messages: str | None = None
    options_separator: str | None = None
    option_columns: tuple[str, ...] = ()
    keep: tuple[str, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, names: Iterable[str], place: Place) -> Columns:
        """Recognise columns by name.

        Raises:
            MissingColumn: there is no image column, or neither questions with answers nor labels.
            DataError: options are given in two ways, or one is missing between option columns.
        """
        there = list(names)
        lower = {name.strip().lower(): name for name in reversed(there)}
        found = {
            role: next((lower[alias] for alias in aliases if alias in lower), None)
            for role, aliases in ALIASES.items()
        }
        asks = found["question"] or found["questions"]
        answers = found["answer"] or found["answers"]
        talks = found["conversations"] or found["messages"]
        if found["image"] is None or not ((asks and answers) or talks or found["label"]):
            raise MissingColumn(place, f"expected {EXPECTED}; the columns are {there}")
        if asks or talks:
            found["label"] = None  # in IconQA and others, this is the kind of task
        if talks:
            found.update(dict.fromkeys(("question", "questions", "answer", "answers", "options")))
        present: dict[str, Any] = {role: name for role, name in found.items() if name}
        if found["question"] and not talks:
            present["option_columns"] = option_columns(there, place)
            if present["option_columns"] and found["options"]:
                raise DataError(
                    place,
                    f"options are given twice, in {found['options']!r} and in "
                    f"{list(present['option_columns'])}; keep one of the two",
                )
        return cls(**present)

    def sentence(self) -> str:
        """Describe how the table was understood."""
        pairs = [f"{role} from {name!r}" for role, name in self.roles.items()]
        kept = f"; kept where {self.keep[0]!r} is {' or '.join(self.keep[1])}" if self.keep else ""
        if self.option_columns:
            pairs.append(f"options from {list(self.option_columns)}")
        return f"columns: {', '.join(pairs)}{kept}"

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role -> column name, for the roles this table has."""
        return {role: name for role, name in vars(self).items() if role in ALIASES and name}

    @property
    def names(self) -> list[str]:
        """The names of all columns that are read."""
        used = [*self.roles.values(), *self.option_columns, *((self.keep or ())[:1])]
        return list(dict.fromkeys(used))

    def require_one_name(self, row: Mapping[str, Any], place: Place) -> None:
        """Refuse a row with another name for a column than the table's: its value would be lost.

        Raises:
            DataError: the row has one; the message gives both names.
        """
        for role in _ONE_NAME:
            name = self.roles.get(role)
            if name is None or row.get(name) not in (None, "", []):
                continue
            for other, value in row.items():
                if other.strip().lower() in ALIASES[role] and value not in (None, "", []):
                    raise DataError(
                        place,
                        f"this row has its {role} in {other!r}, others in {name!r}; give the "
                        "column one name",
                    )

    def require_no_other_image(self, row: Mapping[str, Any], place: Place) -> None:
        """Refuse a row whose image is in another column than the table's.

        Otherwise the row would be skipped as one without an image.

        Raises:
            DataError: the row has one; the message gives both names.
        """
        for other in self.other_images(row):
            if holds_image(row[other]):
                raise DataError(
                    place,
                    f"this row has its image in {other!r}, others in {self.image!r}; give the "
                    "column one name",
                )

    def other_images(self, names: Iterable[str]) -> list[str]:
        """Filter names that could be the image column's, but are not."""
        known = ALIASES["image"]
        return [name for name in names if name != self.image and name.strip().lower() in known]

    def require(self, there: Iterable[str], place: Place) -> None:
        """Refuse a table or row that lacks required columns.

        Raises:
            MissingColumn: a column is missing; the message lists those present.
        """
        there = list(there)
        for role, name in self.roles.items():
            if role not in _OPTIONAL and name not in there:
                raise MissingColumn(place, f"no column {name!r} for {role}; there are {there}")

    def wanted(self, row: Mapping[str, Any]) -> bool:
        """Whether ``keep`` selects this row."""
        return self.keep is None or row.get(self.keep[0]) in self.keep[1]


def option_columns(names: Iterable[str], place: Place) -> tuple[str, ...]:
    """Find the columns that contain one option each, in order; empty if there are none.

    >>> option_columns(["image", "question", "option_1", "option_2"], Place(Path("a.csv")))
    ('option_1', 'option_2')

    Raises:
        DataError: they are named in two ways, or one is missing between others.
    """
    ways: dict[tuple[str, bool], dict[int, str]] = {}
    for name in names:
        match = _OPTION.fullmatch(name.strip())
        if match is None or (match["word"] is None and not name.strip().isupper()):
            continue
        number, digits = match["number"].lower(), match["number"].isdigit()
        row = int(number) if digits else string.ascii_lowercase.index(number)
        ways.setdefault(((match["word"] or "").lower(), digits), {})[row] = name
    ways = {way: rows for way, rows in ways.items() if len(rows) > 1 and min(rows) <= way[1]}
    found = [name for rows in ways.values() for name in rows.values()]
    if len(ways) > 1:
        raise DataError(place, f"options are named in two ways: {found}; keep one of the two")
    for rows in ways.values():
        if len(rows) != max(rows) - min(rows) + 1:
            raise DataError(place, f"an option column is missing between the others: {found}")
        return tuple(rows[row] for row in sorted(rows))
    return ()
