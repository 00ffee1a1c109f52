"""Files that grow by pieces: a piece is whole or not there, and what was written before stays."""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from craft.data.images.cache import PixelWriter
from craft.evaluation.code_file import CodeFile
from craft.evaluation.journal import Journal
from craft.evaluation.judge.verdict_file import VerdictFile
from craft.runtime.appended_file import AppendedFile, whole_lines
from craft.runtime.whole_file import WriteError
from craft.settings.training import LogConfig
from craft.training.records.run_log import RunLog
from craft.training.records.trackers import Trackers


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """The system itself lets files grow to so many bytes, and refuses in the middle of a write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_pieces_stand_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with AppendedFile(path) as file:
        file.append(b"one\n")
        file.append(memoryview(b"two\n"), sync=False)
        assert file.size == 8
    with AppendedFile(path) as file:
        file.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    with AppendedFile(path, keep=4) as file:
        file.append(b"2\n")
    assert path.read_bytes() == b"one\n2\n"


def test_a_full_disk_leaves_what_was_there_and_says_how_much_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with AppendedFile(path) as file:
        file.append(b"one\n")
        with full_after(10), pytest.raises(WriteError) as caught:
            file.append(b"a longer line\n")
        assert path.read_bytes() == b"one\n"
        file.append(b"two\n")  # room was made
    assert path.read_bytes() == b"one\ntwo\n"
    told = str(caught.value)
    assert told.startswith(f"{path} could not be written: File too large; it needs 14 bytes, ")
    assert "\n" not in told


def test_ctrl_c_in_the_middle_of_a_piece_leaves_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with AppendedFile(tmp_path / "log") as file:
        file.append(b"one\n")
        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.append(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_a_torn_last_line_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    assert whole_lines(path) == []
    path.write_bytes(b"one\ntwo\n")
    assert whole_lines(path) == [b"one", b"two"]
    assert not caplog.records
    path.write_bytes(b"one\ntw")
    assert whole_lines(path) == [b"one"]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: line 2 is cut short, ")


class Nothing(Trackers):
    def log(self, *_: Any) -> None: ...


def codes(value: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((4, 3, 2), value, dtype=torch.int16), torch.full((4, 3), float(value))


def answers(out: Path, number: int) -> None:
    journal = Journal(out, {"of": "this"})
    try:
        journal.add({"model": "m"}, "domain", {number: "an answer"})
    finally:
        journal.__exit__(KeyboardInterrupt)


def verdicts(out: Path, number: int) -> None:
    with VerdictFile(out / "v.jsonl", "stub") as file:
        file.add(f"q{number}", 0.5, None, "none")


def log(out: Path, number: int) -> None:
    path = out / "train.jsonl"
    kept = path.stat().st_size if path.is_file() else 0
    trackers: Any = Nothing(LogConfig(), {}, out, resumed=False)
    with RunLog(path, Accelerator(cpu=True), trackers, kept) as lines:
        lines.record({"step": number})
        lines.flush()


def encoded(out: Path, number: int) -> None:
    CodeFile(out / "x.codes").append(4 * number - 4, *codes(number))


def pixels(out: Path, number: int) -> None:
    with PixelWriter(out / "x.part", 12) as file:
        file.append(torch.full((3, 3, 2, 2), number, dtype=torch.uint8))


#: What grows by pieces: who adds the piece of a number, and to which file.
GROWING: dict[str, tuple[Callable[[Path, int], None], str]] = {
    "answers": (answers, ".unfinished/answers.jsonl"),
    "verdicts": (verdicts, "v.jsonl"),
    "log": (log, "train.jsonl"),
    "codes": (encoded, "x.codes"),
    "pixels": (pixels, "x.part"),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_full_disk_loses_nothing_and_names_the_file(kind: str, tmp_path: Path) -> None:
    add, name = GROWING[kind]
    path = tmp_path / name
    for number in (1, 2):
        add(tmp_path, number)
    before = path.read_bytes()
    with full_after(len(before) + 7), pytest.raises(OSError, match="File too large") as caught:
        add(tmp_path, 3)
    assert str(caught.value).startswith(f"{path} could not be written: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    add(tmp_path, 3)
    after = path.read_bytes()
    assert after.startswith(before)
    assert len(after) > len(before)


@pytest.mark.parametrize("kind", ["answers", "verdicts", "codes"])
def test_a_torn_end_is_told_by_name_and_what_was_before_it_is_kept(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add, name = GROWING[kind]
    path = tmp_path / name
    add(tmp_path, 1)
    one = path.read_bytes()
    add(tmp_path, 2)
    two = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for cut in (len(one) + 1, (len(one) + len(two)) // 2, len(two) - 2):
            path.write_bytes(two[:cut])
            caplog.clear()
            if kind == "codes":
                room = torch.zeros(8, 3, 2, dtype=torch.int16), torch.zeros(8, 3)
                assert CodeFile(path).read(*room) == [range(4)]
            add(tmp_path, 2)
            assert path.read_bytes() == two
            (record,) = [x for x in caplog.records if "cut short" in x.getMessage()]
            assert record.getMessage().startswith(f"{path}: ")


def test_a_changed_letter_of_an_answer_is_not_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        answers(tmp_path, number)
    path = tmp_path / ".unfinished" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"an answer", b"an ansWer") + lines[2])
    journal = Journal(tmp_path, {"of": "this"})
    try:
        assert journal.given({"model": "m"}, "domain") == {1: "an answer"}
    finally:
        journal.__exit__(KeyboardInterrupt)
    assert path.read_bytes() == lines[0]
    assert f"{path}: what stands from line 2 on is damaged or cut short" in caplog.text
    assert json.loads(lines[0])["answers"] == {"1": "an answer"}
