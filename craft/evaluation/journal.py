"""Journal of an unfinished exam: codes and answers are saved as they come, and reused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from craft.runtime.appended_file import AppendedFile, tell_torn, whole_lines
from craft.runtime.directory_lock import LOCK, directory_lock
from craft.runtime.json_cards import CHECKSUM, checksum, with_checksum
from craft.runtime.strict_text import parse_json
from craft.runtime.whole_file import remove_unfinished, write_text

if TYPE_CHECKING:
    from craft.evaluation.code_file import CodeFile

#: Folder inside the results directory that exists only while an exam is unfinished.
UNFINISHED = ".unfinished"
_IDENTITY, _ANSWERS = "identity.json", "answers.jsonl"


class Journal:
    """Codes and answers of an exam, written as they come, so that an interrupted run resumes.

    Args:
        directory: where the results will go; the journal is a folder in it.
        identity: everything the answers depend on, as JSON. Files left by a run with a different
            identity are deleted.

    Raises:
        LockedError: another process writes exam results to the same directory.
        OSError: the folder cannot be written.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any]):
        self.folder = directory / UNFINISHED
        with ExitStack() as held:
            held.enter_context(directory_lock(self.folder))
            remove_unfinished(directory)
            self._open(identity)
            self._held = held.pop_all()

    def _open(self, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)  # in ASCII
        noted = self.folder / _IDENTITY
        if not noted.is_file() or noted.read_bytes() != text.encode():
            for path in self.folder.iterdir():
                if path.name != LOCK:
                    path.unlink()
            write_text(noted, text)
        self._given: dict[str, dict[int, str]] = {}
        path = self.folder / _ANSWERS
        self._file = AppendedFile(path, self._read(path))

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

        return CodeFile(self.folder / f"{name}.codes")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Delete the folder if the block succeeded, since the results are then written."""
        self._file.close()
        if kind is None:
            shutil.rmtree(self.folder)
        self._held.close()

    def _read(self, path: Path) -> int:
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
            self._given.setdefault(entry["run"], {}).update(answers)
            whole += len(line) + 1
        return whole


def _key(run: Mapping[str, Any], part: str) -> str:
    return json.dumps([part, run], sort_keys=True, ensure_ascii=False)
