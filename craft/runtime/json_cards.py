"""The only reader of JSON files that describe stored models, packs and runs.

These files are called cards. Cards written here carry a checksum of their content, so that a digit
that was corrupted on disk is an error instead of, say, the index of another layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from craft.runtime.stored_files import StoredFileError, require_file
from craft.runtime.strict_text import Fault, parse_json

if TYPE_CHECKING:
    from pydantic import BaseModel

CHECKSUM = "checksum"
_Model = TypeVar("_Model", bound="BaseModel")


def read_json(path: Path | str, what: str, *, foreign: bool = False) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        what: what the file is, for the error message, such as "the card of a pack".
        foreign: written by another library; see :func:`~craft.runtime.strict_text.parse_json`.

    Raises:
        StoredFileError: the file is missing, empty, a Git LFS pointer, not JSON, or not an object;
            or a key is given twice, a number is not finite and the like, and the message names the
            key.
    """
    path = require_file(path, what)
    try:
        content = parse_json(path.read_bytes(), foreign=foreign)
    except Fault as error:
        raise StoredFileError(
            f"{path}, {what}, is not valid JSON ({error}); it was cut short or damaged, so get it "
            "again"
        ) from error
    if not isinstance(content, dict):
        raise StoredFileError(
            f"{path}, {what}, holds a JSON {type(content).__name__}, expected an object"
        )
    return content


def read_json_lines(path: Path, what: str, *, foreign: bool = False) -> Iterator[dict[str, Any]]:
    """Iterate over the JSON objects of a file with one per line; a truncated last line is skipped.

    Raises:
        StoredFileError: a line is not a JSON object; the message names the line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                found = parse_json(line, foreign=foreign)
                if not isinstance(found, dict):
                    raise Fault(f"a JSON {type(found).__name__}, expected an object")
            except Fault as error:
                raise StoredFileError(f"{path}:{number}, {what}, is damaged: {error}") from error
            yield found


def read_card(
    path: Path | str, what: str, model: type[_Model], *, strict: bool | None = None
) -> _Model:
    """Read a JSON object as a pydantic model; its checksum, if it has one, is verified.

    Args:
        strict: pydantic's strict mode; None for the model's own setting.

    Raises:
        StoredFileError: as for :func:`read_json`; a field is missing or of the wrong type; or the
            content does not match the checksum.
    """
    return as_card(read_json(path, what), path, what, model, strict=strict)


def as_card(
    content: Mapping[str, Any],
    path: Path | str,
    what: str,
    model: type[_Model],
    *,
    strict: bool | None = None,
) -> _Model:
    """Like :func:`read_card`, for the content of a JSON file that was read before."""
    from pydantic import ValidationError

    if CHECKSUM in content and content[CHECKSUM] != checksum(content):
        raise StoredFileError(
            f"{path}, {what}, is damaged or was edited: its content is not what its checksum was "
            "made of; get the file again"
        )
    text = json.dumps({k: v for k, v in content.items() if k != CHECKSUM})
    try:  # from JSON, since strict mode accepts lists for tuples only there
        return model.model_validate_json(text, strict=strict)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(".".join(map(str, first["loc"])).split()) or "the file"
        said = " ".join(first["msg"].split())
        raise StoredFileError(f"{path} is not {what}: {where}: {said}") from error


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its checksum, ready to be written."""
    return {**content, CHECKSUM: checksum(content)}


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, excluding its checksum and independent of the order of keys."""
    plain = json.loads(json.dumps({k: v for k, v in content.items() if k != CHECKSUM}))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
