"""``craft reproduce`` in several processes, which do not see the patches of the other tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from craft.family.family import ModelFamily
from craft.pocket.reproduction import run
from craft.pocket.reproduction.plan import PRETRAINED, Job, Scale


@pytest.mark.slow
def test_workers_do_what_one_process_does(three_models: ModelFamily, tmp_path: Path) -> None:
    """Real processes on the shipped images, zero-shot only."""
    todo = [Job(PRETRAINED, "flags"), Job(PRETRAINED, "handwriting")]
    scale = Scale("few", ("flags", "handwriting"), (), 1, 1, 4, 3)
    for workers in (1, 2):
        directory = tmp_path / str(workers)
        directory.mkdir()
        assert len(list(run._work(todo, scale, three_models, directory, "", workers))) == 2
    for job in todo:
        one, two = (
            json.loads((tmp_path / str(n) / f"{job.name}.json").read_text()) for n in (1, 2)
        )
        assert one["answers"] == two["answers"]
        assert one["questions"] == two["questions"]


WORK = """
import sys
from pathlib import Path
from craft.family.family import ModelFamily
from craft.pocket.reproduction import run
from craft.pocket.reproduction.plan import PRETRAINED, Job, Scale
if __name__ == "__main__":
    models, out = ModelFamily(Path(sys.argv[1])), Path(sys.argv[2])
    scale = Scale("few", ("flags",), (), 1, 1, 4, 3)
    todo = [Job(PRETRAINED, "flags", seed=seed) for seed in range(1000)]
    for _ in run._work(todo, scale, models, out, "", 2):
        print("one is done", flush=True)
"""


def children(pid: int) -> set[int]:
    """All descendants of a process."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found |= {child} | children(child)
    return found


def running(processes: set[int]) -> set[int]:
    """The processes that have not ended; zombies have."""
    return {
        pid
        for pid in processes
        if Path(f"/proc/{pid}").exists()
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_began_them(
    three_models: ModelFamily, tmp_path: Path, signal_number: int
) -> None:
    """The signal goes to that process only, not to its group as from a terminal."""
    script = tmp_path / "work.py"
    script.write_text(WORK)
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, three_models.directory, out],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "one is done\n"
        workers = children(process.pid)
        assert len(workers) >= 2
        process.send_signal(signal_number)
        began = time.monotonic()
        process.wait(20)
        while running(workers) and time.monotonic() - began < 20:
            time.sleep(0.05)
        assert not running(workers)
    finally:
        process.kill()
        process.communicate()
