"""What is allowed in this project's JSON and YAML files, which users edit and disks corrupt.

Python's parsers accept more than these formats do: the last of two equal keys wins, NaN is a
number, a number may have a thousand digits, text may contain lone surrogates. Each of these would
be a wrong value without a warning, or a traceback far from its cause. Here each is a
:class:`Fault` that names the key.
"""

from __future__ import annotations

import json
import math
from typing import Any

#: Deeper than any file of this project, and far below Python's recursion limit.
DEPTH = 64
_INT64 = 2**63
_MARKS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\xef\xbb\xbf": "a byte order mark",
}


class Fault(ValueError):
    """Content that is not allowed; the message is a fragment, to be completed by the caller."""


def utf8(data: bytes) -> str:
    """Decode the content of a file; raise Fault unless it is UTF-8 without a byte order mark."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise Fault(f"it begins as {name}; save it as UTF-8 without a byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise Fault(f"byte {error.start} is 0x{byte:02x}, which is not UTF-8") from None


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: not with half a character in it, or with a byte
    of a file's name that is not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_json(data: bytes | str, *, foreign: bool = False) -> Any:
    """Parse JSON.

    Args:
        foreign: written by another library, such as a config of transformers; non-finite numbers
            and integers beyond 64 bits are then allowed.

    Raises:
        Fault: not JSON, a key given twice, a lone surrogate, or nested deeper than :data:`DEPTH`;
            unless ``foreign``, also a number that is not finite or an integer beyond 64 bits.
    """
    text = utf8(data) if isinstance(data, bytes) else data
    try:
        value = json.loads(text, object_pairs_hook=object_of)
    except RecursionError:
        raise Fault(f"nested deeper than {DEPTH} levels") from None
    except Fault:
        raise
    except ValueError as error:  # including an integer of more than 4300 digits
        raise Fault(" ".join(str(error).split())) from None
    require_plain(value, foreign=foreign)
    return value


def require_plain(value: Any, place: str = "", depth: int = 0, *, foreign: bool = False) -> None:
    """Raise Fault, naming the key, unless a value is what :func:`parse_json` may return."""
    if depth > DEPTH:
        raise Fault(f"nested deeper than {DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            require_plain(key, f"a key in {place}" if place else "a key", depth, foreign=foreign)
            name = f"{place}.{key}" if place else str(key)
            require_plain(inner, name, depth + 1, foreign=foreign)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            require_plain(inner, f"{place}[{number}]", depth + 1, foreign=foreign)
    else:
        said = _fault(value, foreign)
        if said:
            raise Fault(f"{' '.join(place.split())}: {said}" if place else said)


def _fault(value: Any, foreign: bool) -> str | None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                return f"holds half a character, {value[error.start]!r}"
        return None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        far = not foreign and not -_INT64 <= value < _INT64
        return "an integer beyond 64 bits" if far else None
    if isinstance(value, float):
        wrong = not foreign and not math.isfinite(value)
        return f"{value} is no finite number" if wrong else None
    return f"a {type(value).__name__}, which has no meaning here; put it in quotes"


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dict, raising Fault for a repeated key.

    An ``object_pairs_hook`` for the json module, which would keep the last of two equal keys.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Fault(f"key {twice!r:.80} is given twice")
    return found
