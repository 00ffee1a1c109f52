"""The only reader of YAML: settings, and the notes of runs.

Only a subset is read: no tags, anchors or aliases, so that a file can neither construct arbitrary
objects nor exhaust memory. Keys must be unique and numbers finite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from craft.runtime.stored_files import StoredFileError, require_file
from craft.runtime.strict_text import DEPTH, Fault, require_plain, utf8

#: Settings are a few thousand bytes; parsing takes about a second per 100,000 bytes.
_LONGEST = 1 << 16


def read_yaml(path: Path | str, what: str) -> dict[str, Any]:
    """Read a file of ``KEY: VALUE`` lines; an empty file gives an empty dict.

    Args:
        what: what the file is, for the error message, such as "settings".

    Raises:
        StoredFileError: the file is missing, a Git LFS pointer, longer than 65,536 bytes, not YAML,
            or not a mapping; the message names the key, if there is one.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:
        return {}
    size = require_file(path, what).stat().st_size
    if size > _LONGEST:
        raise StoredFileError(
            f"{path}, {what}, has {size} bytes, expected at most {_LONGEST}; name another file"
        )
    try:
        data = path.read_bytes()
        found = parse_yaml(utf8(data.removeprefix(b"\xef\xbb\xbf")))  # Windows adds this mark
    except Fault as error:
        raise StoredFileError(f"{path}, {what}, cannot be read: {error}") from error
    if not isinstance(found, dict | None):
        raise StoredFileError(
            f"{path}, {what}, must hold KEY: VALUE, got {type(found).__name__}; mend the file"
        )
    return found or {}


def parse_yaml(text: str) -> Any:
    """Parse YAML; values are of JSON's types.

    Raises:
        Fault: not YAML, or something that :mod:`craft.runtime.strict_text` or this module excludes.
    """
    try:
        value = yaml.load(text, _Loader)
    except Fault:
        raise
    except RecursionError:
        raise Fault(f"nested deeper than {DEPTH} levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = " ".join((error.problem or error.context or "not understood").split())
        raise Fault(f"{where}{said}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date such as 2020-99-99
        raise Fault(" ".join(str(error).split())) from None
    require_plain(value)
    return value


def yaml_text(value: Any) -> str:
    """Format plain values as YAML that :func:`parse_yaml` reads, i.e. without aliases."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    """A loader that refuses tags, anchors, aliases and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Fault(f"{_line(event)}: anchors and aliases are not read; write the value out")
        if getattr(event, "tag", None) is not None:
            raise Fault(f"{_line(event)}: tags such as {event.tag!r:.60} are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Fault(f"{_line(key)}: a key must be a word")
            if key.value in seen:
                raise Fault(f"{_line(key)}: key {key.value!r:.80} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
