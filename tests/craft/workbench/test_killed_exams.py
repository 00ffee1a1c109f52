"""After ``kill -9`` at any point of an exam, the next run writes the same files."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from craft.evaluation.journal import UNFINISHED
from craft.family.family import ModelFamily
from tests.craft.workbench.killed_exams import examine, in_small_steps

FILES = ("predictions.jsonl", "results.json")


def killed(models: Path, out: Path, command: str, after: float) -> None:
    module = "tests.craft.workbench.killed_exams"
    words = [sys.executable, "-m", module, str(models), str(out), command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "begins\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(params=["evaluate", "transfer"])
def same(
    tiny_models: ModelFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    """Kill exams after the given seconds each, then compare what the next one writes.

    An exam that resumes where others died may end before it is killed; the next then starts over.
    """
    command = request.param
    in_small_steps(monkeypatch.setattr)
    examine(tiny_models, tmp_path / "whole", command)

    def check(seconds: list[float]) -> None:
        out = tmp_path / "killed"
        died = 0
        for after in seconds:
            killed(tiny_models.directory, out, command, after)
            if (out / UNFINISHED / "identity.json").is_file():
                died += 1
            elif (out / FILES[1]).is_file():
                require_whole(out)
                shutil.rmtree(out)
        assert died  # how many depends on the machine
        examine(tiny_models, out, command)
        require_whole(out)
        assert sorted(path.name for path in out.iterdir()) == sorted(FILES)

    def require_whole(out: Path) -> None:
        for name in FILES:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    return check


def test_a_killed_exam_resumes_and_writes_the_same_files(same, tmp_path: Path) -> None:
    same([0.5])


@pytest.mark.slow
@pytest.mark.fuzz
def test_thirty_kills_change_nothing(same) -> None:
    rng = random.Random(0)
    same([rng.uniform(0.1, 1.0) for _ in range(30)])
