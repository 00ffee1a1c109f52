"""Which columns of a table hold what, and its rows as questions or labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from craft.data.readers.conversation import llava_turns, message_turns
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Turn
from craft.data.readers.splits import split_name

#: What a table may call each column; the first that is there counts.
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "index"),
    "image": ("image", "images", "image_path", "file_name", "filename", "filepath", "img"),
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
    "an image column with question and answer, with label, with conversations or with messages"
)


#: Roles that a row may leave out although other rows have them.
_OPTIONAL = {"id", "options", "caption", "split", "hint"}


class MissingColumn(DataError):
    """A table without a column that it must have."""


@dataclass(frozen=True)
class Columns:
    """Column names of one table; None where it has no such column.

    ``questions`` and ``answers`` are lists of equal length (several questions an image), except
    that ``answers`` beside a single ``question`` lists answers that all count as right; the most
    frequent one is taught and asked for. ``options_separator`` splits options kept in one text;
    ``keep`` names a column and those of its values whose rows are wanted.
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
    keep: tuple[str, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, names: Iterable[str], place: Place) -> Columns:
        """Recognise columns by name.

        Raises:
            DataError: no image column, or neither questions with answers nor labels.
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
        return cls(**present)

    def sentence(self) -> str:
        """How the table was understood."""
        pairs = [f"{role} from {name!r}" for role, name in self.roles.items()]
        kept = f"; kept where {self.keep[0]!r} is {' or '.join(self.keep[1])}" if self.keep else ""
        return f"columns: {', '.join(pairs)}{kept}"

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role -> column name, for the roles this table has."""
        return {role: name for role, name in vars(self).items() if role in ALIASES and name}

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([*self.roles.values(), *((self.keep or ())[:1])]))

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

    def turns(self, row: Mapping[str, Any], place: Place) -> tuple[Turn, ...]:
        """The questions of a row; none if it has a label instead.

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
                Turn(_text(q, "question", place), _text(a, "answer", place))
                for q, a in zip(asked, given, strict=True)
            )
        if self.question is None:
            return ()
        question = _text(row[self.question], "question", place)
        if self.hint is not None and row[self.hint]:
            question = f"Context: {row[self.hint]}\n{question}"
        answer = row[self.answer] if self.answer else _most_frequent(row[self.answers or ""], place)
        options = self._options(row, place)
        if not options:
            return (Turn(question, _text(answer, "answer", place)),)
        return (Turn(question, option_of(answer, options, place), options),)

    def _options(self, row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
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
        options = tuple(_text(option, "option", place) for option in value)
        if len(set(options)) < len(options):
            raise DataError(place, f"two options are the same: {list(options)}")
        return options

    def split_of(self, row: Mapping[str, Any], place: Place) -> str | None:
        """The row's split, if the table has such a column."""
        if self.split is None or row[self.split] in (None, ""):
            return None
        name = split_name(str(row[self.split]))
        if name is None:
            raise DataError(place, f"split must be train, val or test, got {row[self.split]!r:.40}")
        return name

    def captions(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Free texts about the image."""
        value = row[self.caption] if self.caption else None
        texts = value if isinstance(value, list) else [value]
        return tuple(str(text).strip() for text in texts if text)


def option_of(answer: Any, options: Sequence[str], place: Place) -> str:
    """The option an answer means: given as its text, its letter, or its number from 0.

    Raises:
        DataError: it is none of them, or means two different ones.
    """
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(options):
            raise DataError(
                place, f"answer {answer} is not the number of one of {len(options)} options, from 0"
            )
        return options[answer]
    text = _text(answer, "answer", place)
    meant = {text} & set(options)
    if len(text) == 1 and 0 <= ord(text) - ord("A") < len(options):
        meant.add(options[ord(text) - ord("A")])
    if len(meant) != 1:
        problem = "means two options, by text and by letter" if meant else "is not one of"
        raise DataError(place, f"answer {text!r:.60} {problem}: {list(options)}")
    return meant.pop()


def _text(value: Any, what: str, place: Place) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(place, f"{what} must be a text, got {value!r:.60}")
    return value.strip()


def _most_frequent(answers: Any, place: Place) -> str:
    if isinstance(answers, str):
        return answers
    if not isinstance(answers, list) or not answers:
        raise DataError(place, f"answers must be a list of texts, got {answers!r:.60}")
    texts = [_text(a["answer"] if isinstance(a, dict) else a, "answer", place) for a in answers]
    return max(texts, key=texts.count)  # the first of equals
