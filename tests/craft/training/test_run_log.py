"""The log of a run: lines for people and programs, numbers for trackers."""

import json
from typing import Any

import pytest
from accelerate import Accelerator

from craft.training.config import LogConfig
from craft.training.run_log import RunLog, require_trackers


class Tracked:
    """An accelerator that notes what it is told."""

    is_main_process = True
    trackers = ("some",)

    def __init__(self):
        self.seen = []

    def log(self, values, step):
        self.seen.append((step, values))


def open_log(path, accelerator: Any) -> RunLog:
    return RunLog(path, accelerator)


def test_lines_and_numbers(tmp_path):
    tracked = Tracked()
    with open_log(tmp_path / "log", tracked) as log:
        log.record({"step": 3, "sal": 1.5, "validation": {"domain": 50}, "note": "x"})
    assert json.loads((tmp_path / "log").read_text())["note"] == "x"
    assert tracked.seen == [(3, {"sal": 1.5, "validation/domain": 50.0})]


def test_lines_after_the_checkpoint_are_written_again(tmp_path):
    path = tmp_path / "log"
    with RunLog(path, Accelerator(cpu=True)) as log:
        log.record({"step": 1})
        kept = log.flush()
        log.record({"step": 2})
    with RunLog(path, Accelerator(cpu=True), kept) as log:
        log.record({"step": 2, "again": True})
    assert [json.loads(x) for x in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2, "again": True},
    ]
    with RunLog(path, Accelerator(cpu=True)):
        pass
    assert path.read_text() == ""


def test_only_the_first_process_writes(tmp_path):
    other = Tracked()
    other.is_main_process = False
    with open_log(tmp_path / "log", other) as log:
        log.record({"step": 1})
        assert log.flush() == 0
    assert not (tmp_path / "log").exists()
    assert other.seen == []


def test_a_tracker_that_is_missing_is_named(monkeypatch):
    require_trackers(LogConfig())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"log\.trackers names trackio, which is not installed"):
        require_trackers(LogConfig(trackers=["trackio"]))
