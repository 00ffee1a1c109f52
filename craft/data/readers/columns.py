"""Which columns of a table hold what, and its rows as questions or labels."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from craft.data.readers.answers import Choice, Numbers, option_of, text_of
from craft.data.readers.conversation import llava_turns, message_turns
from craft.data.readers.image_cells import holds_image
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Turn
from craft.data.readers.splits import split_name

#: What a table may call each column; the first that is there counts.
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


#: Columns of one option each: A B C, option_a, choice_a, optionA, opt1, option_1.
_OPTION = re.compile(r"(?:(?P<word>option|choice|opt)[ _-]?)?(?P<number>[a-z]|\d{1,2})", re.I)

#: Roles that a row may leave out although other rows have them.
_OPTIONAL = {"id", "options", "caption", "split", "hint"}
#: Roles that a table may name in two ways, one row this way and one that way: values would be lost.
_ONE_NAME = ("question", "answer", "options", "label", "split", "hint", "conversations", "messages")


#: What our table for VLMEvalKit writes beside test questions: whether their class was in training.
_EXPORTED = {"seen": "test", "heldout": "test"}


class MissingColumn(DataError):
    """A table without a column that it must have."""


@dataclass(frozen=True)
class Columns:
    """Column names of one table; None where it has no such column.

    ``questions`` and ``answers`` are lists of equal length (several questions an image), except
    that ``answers`` beside a single ``question`` lists answers that all count as right; the most
    frequent one is taught and asked for. ``options_separator`` splits options kept in one text;
    ``option_columns`` are columns of one option each, in order. ``keep`` names a
    column and those of its values whose rows are wanted.
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
            DataError: no image column, or neither questions with answers nor labels; options in
                two ways, or columns of options with one missing between them.
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
            found["label"] = None  # iconqa and others label the task there
        if talks:
            found.update(dict.fromkeys(("question", "questions", "answer", "answers", "options")))
        present: dict[str, Any] = {role: name for role, name in found.items() if name}
        if found["question"] and not talks:
            present["option_columns"] = option_columns(there, place)
            if present["option_columns"] and found["options"]:
                raise DataError(
                    place,
                    f"options are named twice, in {found['options']!r} and in "
                    f"{list(present['option_columns'])}; keep one of the two",
                )
        return cls(**present)

    def sentence(self) -> str:
        """How the table was understood."""
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
        """All columns that are read."""
        used = [*self.roles.values(), *self.option_columns, *((self.keep or ())[:1])]
        return list(dict.fromkeys(used))

    def require_one_name(self, row: Mapping[str, Any], place: Place) -> None:
        """Refuse a row that calls a column otherwise than the table does: it would be overlooked.

        Raises:
            DataError: names both columns.
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
        """Refuse a row without image in the table's column that has one in a column of another
        name: it would be left out as a row without image.

        Raises:
            DataError: names both columns.
        """
        for other in self.other_images(row):
            if holds_image(row[other]):
                raise DataError(
                    place,
                    f"this row has its image in {other!r}, others in {self.image!r}; give the "
                    "column one name",
                )

    def other_images(self, names: Iterable[str]) -> list[str]:
        """Those of the names that could be the image column's, but are not."""
        known = ALIASES["image"]
        return [name for name in names if name != self.image and name.strip().lower() in known]

    def require(self, there: Iterable[str], place: Place) -> None:
        """Refuse a table or row without the columns every row must have.

        Raises:
            MissingColumn: with the columns that are there.
        """
        there = list(there)
        for role, name in self.roles.items():
            if role not in _OPTIONAL and name not in there:
                raise MissingColumn(place, f"no column {name!r} for {role}; there are {there}")

    def wanted(self, row: Mapping[str, Any]) -> bool:
        """Whether ``keep`` asks for this row."""
        return self.keep is None or row.get(self.keep[0]) in self.keep[1]

    def choice(self, row: Mapping[str, Any], place: Place) -> Choice | None:
        """The answer of a row that has options, as it is written, beside them.

        Raises:
            DataError: a missing text, or options that are none.
        """
        if self.question is None:
            return None
        options = self._options(row, place)
        if not options:
            return None
        return Choice(text_of(self._answer(row, place), "answer", place), options, place)

    def _answer(self, row: Mapping[str, Any], place: Place) -> Any:
        return row[self.answer] if self.answer else _most_frequent(row[self.answers or ""], place)

    def turns(self, row: Mapping[str, Any], place: Place, numbers: Numbers) -> tuple[Turn, ...]:
        """The questions of a row; none if it has a label instead.

        Args:
            numbers: how numeric answers are meant.

        Raises:
            DataError: a missing text, lists of unequal length, an answer that is no option.
        """
        if self.conversations is not None:
            return llava_turns(row[self.conversations], place)
        if self.messages is not None:
            return message_turns(row[self.messages], place)
        if self.questions is not None:
            asked, given = row[self.questions], row[self.answers or self.answer or ""]
            if not isinstance(asked, list) or not isinstance(given, list):
                raise DataError(place, "questions and answers must be lists")
            if len(asked) != len(given) or not asked:
                raise DataError(place, f"{len(asked)} questions but {len(given)} answers")
            return tuple(
                Turn(text_of(q, "question", place), text_of(a, "answer", place))
                for q, a in zip(asked, given, strict=True)
            )
        if self.question is None:
            return ()
        question = text_of(row[self.question], "question", place)
        if self.hint is not None and row[self.hint]:
            question = f"Context: {row[self.hint]}\n{question}"
        choice = self.choice(row, place)
        if choice is None:
            return (Turn(question, text_of(self._answer(row, place), "answer", place)),)
        return (Turn(question, option_of(choice, numbers), choice.options),)

    def _options(self, row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
        if self.option_columns:
            return self._spread_options(row, place)
        value = row[self.options] if self.options else None
        if value is None or value == "" or value == []:
            return ()
        if isinstance(value, str) and self.options_separator:
            value = [part.strip() for part in value.split(self.options_separator)]
        elif isinstance(value, str) and value.startswith("["):  # a list in a cell of a CSV file
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                raise DataError(place, f"options are no JSON list: {value!r:.60}") from None
        if not isinstance(value, list) or not 2 <= len(value) <= 26:
            raise DataError(place, f"options must be a list of 2 to 26 texts, got {value!r:.60}")
        return _different([text_of(option, "option", place) for option in value], place)

    def _spread_options(self, row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
        """Options of one column each; those at the end may be empty."""
        cells = [row[name] for name in self.option_columns]
        while cells and (cells[-1] in (None, "") or cells[-1] != cells[-1]):
            cells.pop()
        if len(cells) == 1:
            raise DataError(place, f"a single option, {cells[0]!r:.60}; give two or none")
        return _different([text_of(cell, "option", place) for cell in cells], place)

    def split_of(self, row: Mapping[str, Any], place: Place) -> str | None:
        """The row's split, if the table has such a column."""
        if self.split is None or row[self.split] in (None, ""):
            return None
        text = str(row[self.split])
        name = split_name(text) or _EXPORTED.get(text)
        if name is None:
            raise DataError(place, f"split must be train, val or test, got {row[self.split]!r:.40}")
        return name

    def captions(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Free texts about the image."""
        value = row[self.caption] if self.caption else None
        texts = value if isinstance(value, list) else [value]
        return tuple(str(text).strip() for text in texts if text)


def option_columns(names: Iterable[str], place: Place) -> tuple[str, ...]:
    """The columns that hold one option each, in order; none if there are no such columns.

    >>> option_columns(["image", "question", "option_1", "option_2"], Place(Path("a.csv")))
    ('option_1', 'option_2')

    Raises:
        DataError: two ways of naming them, or one is missing between others.
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
            raise DataError(place, f"columns of options with one missing between them: {found}")
        return tuple(rows[row] for row in sorted(rows))
    return ()


def _different(options: list[str], place: Place) -> tuple[str, ...]:
    if len(set(options)) < len(options):
        raise DataError(place, f"two options are the same: {options}")
    return tuple(options)


def _most_frequent(answers: Any, place: Place) -> str:
    if isinstance(answers, str):
        return answers
    if not isinstance(answers, list) or not answers:
        raise DataError(place, f"answers must be a list of texts, got {answers!r:.60}")
    texts = [text_of(a["answer"] if isinstance(a, dict) else a, "answer", place) for a in answers]
    return max(texts, key=texts.count)  # the first of equals
