"""The log of a run: lines for people and programs, numbers for trackers."""

import json
import resource
from typing import Any

import pytest
from accelerate import Accelerator

from craft.training.records.run_log import RunLog


class Seen(list):
    """Trackers that record what they are sent."""

    def log(self, values, step):
        self.append((step, values))


class Process:
    def __init__(self, is_main_process):
        self.is_main_process = is_main_process


def open_log(path, seen: Any, kept: int = 0, process: Any = None) -> RunLog:
    return RunLog(path, process or Accelerator(cpu=True), seen, kept)


def test_lines_and_numbers(tmp_path):
    seen = Seen()
    with open_log(tmp_path / "log", seen) as log:
        log.record({"step": 3, "sal": 1.5, "validation": {"domain": 50}, "note": "x", "on": True})
    assert json.loads((tmp_path / "log").read_text())["note"] == "x"
    assert seen == [(3, {"sal": 1.5, "validation/domain": 50.0})]


def test_lines_after_the_checkpoint_are_written_again(tmp_path):
    path = tmp_path / "log"
    with open_log(path, Seen()) as log:
        log.record({"step": 1})
        kept = log.flush()
        log.record({"step": 2})
    with open_log(path, Seen(), kept) as log:
        log.record({"step": 2, "again": True})
    assert [json.loads(x) for x in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2, "again": True},
    ]
    with open_log(path, Seen()):
        pass
    assert path.read_text() == ""


def test_only_the_first_process_writes(tmp_path):
    seen = Seen()
    with open_log(tmp_path / "log", seen, process=Process(False)) as log:
        log.record({"step": 1})
        assert log.flush() == 0
    assert not (tmp_path / "log").exists()
    assert seen == []


def test_a_full_disk_gives_one_line_that_names_the_log(tmp_path):
    path = tmp_path / "log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_log(path, Seen()) as log:
        log.record({"step": 1})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
            with pytest.raises(OSError, match=rf"^{path} could not be written: File too large; .*"):
                log.record({"step": 2, "note": "long"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes().startswith(b'{"step": 1}\n')
