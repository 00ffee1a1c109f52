"""The values of a table's row: its questions and answers, captions and split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from craft.data.readers.answers import Choice, Numbers, option_of, text_of
from craft.data.readers.columns import Columns
from craft.data.readers.conversation import llava_turns, message_turns
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Turn
from craft.data.readers.splits import split_name

#: Values of the split column in tables exported for VLMEvalKit: whether a test question's class was
#: in training.
_EXPORTED = {"seen": "test", "heldout": "test"}


def choice_of(columns: Columns, row: Mapping[str, Any], place: Place) -> Choice | None:
    """Return the answer, as written, and the options of a row; None if it has no options.

    Raises:
        DataError: a text is missing, or the options are invalid.
    """
    if columns.question is None:
        return None
    options = _options(columns, row, place)
    if not options:
        return None
    return Choice(text_of(_answer(columns, row, place), "answer", place), options, place)


def _answer(columns: Columns, row: Mapping[str, Any], place: Place) -> Any:
    if columns.answer:
        return row[columns.answer]
    return _most_frequent(row[columns.answers or ""], place)


def turns_of(
    columns: Columns, row: Mapping[str, Any], place: Place, numbers: Numbers
) -> tuple[Turn, ...]:
    """Return the questions of a row; empty if it has a label instead.

    Args:
        numbers: how numeric answers are read.

    Raises:
        DataError: a text is missing, lists differ in length, or an answer is not an option.
    """
    if columns.conversations is not None:
        return llava_turns(row[columns.conversations], place)
    if columns.messages is not None:
        return message_turns(row[columns.messages], place)
    if columns.questions is not None:
        asked, given = row[columns.questions], row[columns.answers or columns.answer or ""]
        if not isinstance(asked, list) or not isinstance(given, list):
            raise DataError(place, "questions and answers must be lists")
        if len(asked) != len(given) or not asked:
            raise DataError(place, f"{len(asked)} questions but {len(given)} answers")
        return tuple(
            Turn(text_of(q, "question", place), text_of(a, "answer", place))
            for q, a in zip(asked, given, strict=True)
        )
    if columns.question is None:
        return ()
    question = text_of(row[columns.question], "question", place)
    if columns.hint is not None and row[columns.hint]:
        question = f"Context: {row[columns.hint]}\n{question}"
    choice = choice_of(columns, row, place)
    if choice is None:
        return (Turn(question, text_of(_answer(columns, row, place), "answer", place)),)
    return (Turn(question, option_of(choice, numbers), choice.options),)


def _options(columns: Columns, row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    if columns.option_columns:
        return _spread_options(columns, row, place)
    value = row[columns.options] if columns.options else None
    if value is None or value == "" or value == []:
        return ()
    if isinstance(value, str) and columns.options_separator:
        value = [part.strip() for part in value.split(columns.options_separator)]
    elif isinstance(value, str) and value.startswith("["):  # a list in a cell of a CSV file
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise DataError(place, f"options are not a JSON list: {value!r:.60}") from None
    if not isinstance(value, list) or not 2 <= len(value) <= 26:
        raise DataError(place, f"options must be a list of 2 to 26 texts, got {value!r:.60}")
    return _different([text_of(option, "option", place) for option in value], place)


def _spread_options(columns: Columns, row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """Return options that have a column each; the last columns may be empty."""
    cells = [row[name] for name in columns.option_columns]
    while cells and (cells[-1] in (None, "") or cells[-1] != cells[-1]):
        cells.pop()
    if len(cells) == 1:
        raise DataError(place, f"a single option, {cells[0]!r:.60}; give two or none")
    return _different([text_of(cell, "option", place) for cell in cells], place)


def split_of(columns: Columns, row: Mapping[str, Any], place: Place) -> str | None:
    """Return the row's split; None if the table has no such column."""
    if columns.split is None or row[columns.split] in (None, ""):
        return None
    text = str(row[columns.split])
    name = split_name(text) or _EXPORTED.get(text)
    if name is None:
        raise DataError(place, f"split must be train, val or test, got {row[columns.split]!r:.40}")
    return name


def captions_of(columns: Columns, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the row's captions."""
    value = row[columns.caption] if columns.caption else None
    texts = value if isinstance(value, list) else [value]
    return tuple(str(text).strip() for text in texts if text)


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
    return max(texts, key=texts.count)  # the first in a tie
