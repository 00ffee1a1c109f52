"""The file of verdicts: one complete JSON line per verdict, with a checksum and its cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from craft.errors import CraftError
from craft.evaluation.judge.protocol import Verdict
from craft.runtime.appended_file import AppendedFile, tell_torn
from craft.runtime.json_cards import CHECKSUM, checksum, with_checksum
from craft.runtime.regular_files import regular_bytes
from craft.runtime.whole_file import WriteError, require_room

#: Bytes that must be free before a verdict is paid for; its line takes about three hundred.
ROOM = 2**16
_BEGIN = b'{"id":'  # of every line


class VerdictFile:
    """Verdicts of one judge; entering reads the file, and verdicts are appended one by one.

    Args:
        path: of the file; it need not exist.
        judge: name of the model whose verdicts it holds.

    Attributes:
        done: verdicts by id.
        spent: total cost of all lines, in US dollars.
    """

    def __init__(self, path: Path, judge: str):
        self.path = path
        self.done: dict[str, Verdict] = {}
        self.spent = 0.0
        self._judge = judge
        self._file: AppendedFile | None = None

    def __enter__(self) -> VerdictFile:
        """Read the file and lock it against other writers until the block ends.

        Raises:
            CraftError: the file holds verdicts of another judge or something else, or another
                process is writing to it.
            OSError: it cannot be read or written.
        """
        if self.path.exists() and not self.path.is_file():
            raise CraftError(f"{self.path} is not a file; give another one as --out")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = AppendedFile(self.path)
        try:
            self._lock(self._file)  # another process may be in the middle of a line
            self._read(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def require_room(self) -> None:
        """Raise WriteError if there is too little disk space for another verdict."""
        require_room(self.path, ROOM, "the next verdict")

    def add(self, id: str, cost: float, verdict: Verdict | None, problem: str = "") -> None:
        """Append a verdict, or the reason why there is none, and flush it to disk.

        Raises:
            WriteError: the line could not be written; the file is unchanged.
        """
        assert self._file is not None
        record: dict[str, Any] = {"id": id, "judge": self._judge, "cost": cost}
        if verdict is None:
            record["problem"] = problem
        else:
            record["verdict"] = verdict.model_dump()
        # In ASCII, because some programs break lines at characters other than line feeds, and an id
        # may contain half a surrogate pair, which cannot be encoded as UTF-8.
        line = json.dumps(with_checksum(record)).encode() + b"\n"
        try:
            self._file.append(line)
        except OSError as error:
            raise WriteError(
                f"{error}; the verdict on {id!r}, which was paid for, is not in it"
            ) from error
        if verdict is not None:
            self.done[id] = verdict

    def _lock(self, file: AppendedFile) -> None:
        try:
            import fcntl
        except ImportError:  # not a Unix system
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CraftError(
                f"another process is writing verdicts to {self.path}; wait for it, or give another "
                "file"
            ) from None
        except OSError:  # some network file systems have no locks
            return

    def _read(self, file: AppendedFile) -> None:
        *lines, last = regular_bytes(self.path).split(b"\n")
        for number, line in enumerate(lines, 1):
            self._take(_record(line, self.path, number), number)
        if not last:  # else an earlier run was killed while it wrote
            return
        number = len(lines) + 1
        try:
            self._take(_record(last, self.path, number), number)
        except CraftError:
            if not _BEGIN.startswith(last[: len(_BEGIN)]):
                raise CraftError(
                    f"{self.path}:{number}: not a verdict; give another file as --out"
                ) from None
            tell_torn(self.path, f"line {number}, a verdict, is")
            file.cut(file.size - len(last))
        else:  # only its line feed is missing
            file.append(b"\n")

    def _take(self, record: dict[str, Any], number: int) -> None:
        if record["judge"] != self._judge:
            raise CraftError(
                f"{self.path} holds verdicts of {record['judge']!r}, not of {self._judge!r}; give "
                "another file"
            )
        self.spent += record["cost"]
        if "verdict" in record:
            self.done[record["id"]] = _verdict(record, self.path, number)


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Parse one line of the file; its verdict is not validated yet."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise CraftError(
            f"{path}:{number}: not a verdict ({said}); remove the line or give another file"
        ) from error
    problem = _misfit(record)
    if problem:
        raise CraftError(
            f"{path}:{number}: not a verdict: {problem}; remove the line or give another file"
        )
    return record


def _misfit(record: Any) -> str:
    """Why :class:`VerdictFile` cannot have written this JSON value, or "" if it can have."""
    if not isinstance(record, dict):
        return "it is not a JSON object"
    if not all(isinstance(record.get(key), str) for key in ("id", "judge")):
        return "it has no id or judge"
    if ("verdict" in record) == ("problem" in record):
        return "expected a verdict or a problem"
    cost = record.get("cost")
    if not isinstance(cost, float) or not (math.isfinite(cost) and cost >= 0):
        return f"its cost is {cost!r}"[:100]
    if record.get(CHECKSUM) != checksum(record):
        return "it was edited or damaged: its checksum does not match"
    return ""


def _verdict(record: dict[str, Any], path: Path, number: int) -> Verdict:
    try:
        return Verdict.model_validate(record["verdict"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "verdict"
        raise CraftError(
            f"{path}:{number}: not a verdict: {where}: {first['msg']}; remove the line"
        ) from error
