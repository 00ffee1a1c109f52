"""Journal of an unfinished exam: codes and answers are saved as they come, and reused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from craft.runtime.appended_file import AppendedFile, tell_torn, whole_lines
from craft.runtime.directory_lock import LOCK, directory_lock, require_unlocked
from craft.runtime.json_cards import CHECKSUM, checksum, with_checksum
from craft.runtime.processes import ALONE, Processes
from craft.runtime.strict_text import parse_json
from craft.runtime.whole_file import remove_unfinished, write_text

if TYPE_CHECKING:
    from craft.evaluation.code_file import CodeFile

log = logging.getLogger(__name__)

#: Folder inside the results directory that exists only while an exam is unfinished.
UNFINISHED = ".unfinished"
_IDENTITY, _ANSWERS = "identity.json", "answers.jsonl"
#: Of several processes, all but the first have a folder each, which ends in their number.
_PART = "process-"


class Journal:
    """Codes and answers of an exam, written as they come, so that an interrupted run resumes.

    Args:
        directory: where the results will go; the journal is a folder in it.
        identity: everything the answers depend on, as JSON. Files left by a run with a different
            identity are deleted, which is logged.
        processes: all of them open the journal together. Each writes to its own files, and knows
            what all processes of earlier runs wrote, however many those were.

    Raises:
        LockedError: another process writes exam results to the same directory.
        OSError: the folder cannot be written.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any], processes: Processes = ALONE):
        self.folder = directory / UNFINISHED
        self._processes = processes
        self._own = self.folder if processes.is_main else self.folder / f"{_PART}{processes.index}"
        with ExitStack() as held:
            if processes.is_main:
                held.enter_context(directory_lock(self.folder))
            self._given = processes.from_main(lambda: self._opened(directory, identity))
            if not processes.is_main:
                held.enter_context(directory_lock(self._own))
            self._file = AppendedFile(self._own / _ANSWERS)
            self._held = held.pop_all()

    def _opened(self, directory: Path, identity: Mapping[str, Any]) -> dict[str, dict[int, str]]:
        """The answers that are there; what is of another identity goes."""
        for part in self._parts:  # of a run whose first process has died
            require_unlocked(part)
        remove_unfinished(directory)
        text = json.dumps(identity, sort_keys=True)  # in ASCII
        noted = self.folder / _IDENTITY
        before = noted.read_bytes() if noted.is_file() else None
        if before != text.encode():
            if before is not None:
                log.warning(
                    "what an earlier run left in %s is not used: its %s",
                    self.folder,
                    _difference(before, identity),
                )
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
            write_text(noted, text)
        found: dict[str, dict[int, str]] = {}
        for folder in (self.folder, *self._parts):
            path = folder / _ANSWERS
            if path.is_file():
                AppendedFile(path, _read_answers(path, found)).close()
        return found

    @property
    def _parts(self) -> list[Path]:
        """Folders of processes other than the first."""
        return sorted(self.folder.glob(f"{_PART}*"))

    def given(self, run: Mapping[str, Any], part: str) -> Mapping[int, str]:
        """Answers that an earlier process recorded, by question number."""
        return self._given.get(_key(run, part), {})

    def add(self, run: Mapping[str, Any], part: str, answers: Mapping[int, str]) -> None:
        """Write answers down, by question number; they are on the disk when this returns.

        Raises:
            OSError: they could not be written; names the file, whose earlier answers are whole.
        """
        numbered = {str(number): text for number, text in answers.items()}
        line = json.dumps(with_checksum({"run": _key(run, part), "answers": numbered}))
        self._file.append(line.encode() + b"\n")

    def codes(self, name: str) -> CodeFile:
        """The file for the codes of one set of images under one encoder."""
        from craft.evaluation.code_file import CodeFile  # imports torch, which is slow

        file = f"{name}.codes"
        return CodeFile(self._own / file, [part / file for part in self._parts])

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Delete the folder if the block succeeded, since the results are then written."""
        self._file.close()
        if not self._processes.is_main:
            self._held.close()
        if kind is None:
            self._processes.wait()  # until no other process holds a folder in this one
            if self._processes.is_main:
                shutil.rmtree(self.folder)
        self._held.close()


def _difference(before: bytes, identity: Mapping[str, Any]) -> str:
    """How an earlier identity differs, for a message."""
    try:
        found = parse_json(before)
    except ValueError:
        return "identity is damaged"
    names: list[str] = []
    for name, now in identity.items():
        was = found.get(name) if isinstance(found, dict) else None
        if isinstance(was, dict) and isinstance(now, dict):
            names += [
                f"{key} was {was.get(key)!r:.60}, not {now[key]!r}"
                for key in now
                if was.get(key) != now[key]
            ]
        elif was != now:
            names.append(f"{name} was different")
    return "; its ".join(names) or "identity was different"


def _read_answers(path: Path, given: dict[str, dict[int, str]]) -> int:
    """Take up the whole lines; how many bytes they are."""
    whole = 0
    for number, line in enumerate(whole_lines(path), 1):
        try:
            entry = parse_json(line)
        except ValueError:  # what a machine that lost its power left
            entry = None
        if not isinstance(entry, dict) or entry.get(CHECKSUM) != checksum(entry):
            tell_torn(path, f"what stands from line {number} on is damaged or")
            break
        answers = {int(number): text for number, text in entry["answers"].items()}
        given.setdefault(entry["run"], {}).update(answers)
        whole += len(line) + 1
    return whole


def _key(run: Mapping[str, Any], part: str) -> str:
    return json.dumps([part, run], sort_keys=True, ensure_ascii=False)
