"""JSON objects with the line each begins on, from an array or from one object per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from craft.data.readers.file_kinds import suffix
from craft.data.readers.place import DataError, Place
from craft.runtime.strict_text import object_of

_SPACE = re.compile(r"[ \t\r\n]*")


def read_objects(path: Path, text: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Iterate over the objects of a ``.json`` array or a ``.jsonl`` file, in order.

    Raises:
        DataError: the file is malformed, or an entry is not an object; the message gives the line.
    """
    entries = _array(path, text) if suffix(path.name) == ".json" else _lines(path, text)
    for place, entry in entries:
        if not isinstance(entry, dict):
            raise DataError(place, f"expected an object {{...}}, got {_shown(entry)}")
        yield place, entry


def _lines(path: Path, text: str) -> Iterator[tuple[Place, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = Place(path, number)
            try:
                yield place, json.loads(line, object_pairs_hook=object_of)
            except json.JSONDecodeError as error:
                raise DataError(
                    place, f"malformed JSON at column {error.colno}: {error.msg}"
                ) from None
            except (RecursionError, ValueError) as error:
                raise DataError(place, f"malformed JSON: {error}") from None


def _array(path: Path, text: str) -> Iterator[tuple[Place, Any]]:
    """Decode entry by entry, since the json module does not tell where a value was in the text."""
    decoder = json.JSONDecoder(object_pairs_hook=object_of)
    at, line, counted, number = _skip(text, 0), 1, 0, 0
    if text[at : at + 1] != "[":
        raise DataError(Place(path, 1), f"expected a list [...], got {text[at : at + 20]!r}")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        previous, number = line, number + 1
        line, counted = line + text.count("\n", counted, at), at
        same_line = number > 1 and line == previous
        place = Place(path, line, f"entry {number}" if same_line else "")
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise DataError(
                Place(path, error.lineno), f"malformed JSON at column {error.colno}: {error.msg}"
            ) from None
        except (RecursionError, ValueError) as error:
            raise DataError(place, f"malformed JSON: {error}") from None
        yield place, entry
        at = _skip(text, at)
        mark = text[at : at + 1]
        after = Place(path, line + text.count("\n", counted, at))
        if mark == ",":
            at = _skip(text, at + 1)
            if text[at : at + 1] == "]":
                raise DataError(after, "malformed JSON: a comma after the last entry")
        elif mark != "]":
            found = repr(text[at : at + 20]) if mark else "the end of the file"
            raise DataError(after, f"malformed JSON: expected , or ] after an entry, got {found}")
    rest = _skip(text, at + 1)
    if rest != len(text):
        extra = Place(path, text.count("\n", 0, rest) + 1)
        raise DataError(extra, f"malformed JSON: more after the list: {text[rest : rest + 20]!r}")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
