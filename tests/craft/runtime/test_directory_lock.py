"""One process at a time writes to a directory; the lock of a dead process is taken over."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from craft.runtime import directory_lock as module
from craft.runtime.directory_lock import LOCK, LockedError, directory_lock, require_unlocked

HOLD = """
import sys, time
from pathlib import Path
from craft.runtime.directory_lock import directory_lock
with directory_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    """Start a process that holds a directory until it is killed."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_living_process_is_named_and_a_dead_one_taken_over(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    process = holder(out)
    try:
        wanted = rf"{out} is in use by process {process.pid} on \S+ since 20\d\d-\S+ \S+; wait"
        with pytest.raises(LockedError, match=wanted):
            require_unlocked(out)
        before = (out / LOCK).read_bytes()
        with pytest.raises(LockedError, match=wanted), directory_lock(out):
            pass
        assert (out / LOCK).read_bytes() == before
    finally:
        end(process)
    assert (out / LOCK).exists()  # left behind by the kill
    require_unlocked(out)
    with directory_lock(out):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "), directory_lock(out):
            pass
    assert list(out.iterdir()) == []


def test_checking_a_free_directory_writes_nothing(tmp_path: Path) -> None:
    require_unlocked(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    before = tmp_path.stat().st_mtime_ns
    require_unlocked(tmp_path)
    assert tmp_path.stat().st_mtime_ns == before


def test_another_machine_cannot_be_asked(tmp_path: Path) -> None:
    owner = {"pid": 1, "host": "elsewhere", "process": "x", "since": "2026-01-01 00:00:00"}
    (tmp_path / LOCK).write_text(json.dumps(owner))
    wanted = rf"by process 1 on elsewhere since .*; if it has ended, delete {tmp_path / LOCK} and"
    with pytest.raises(LockedError, match=wanted), directory_lock(tmp_path):
        pass
    with pytest.raises(LockedError, match=wanted):
        require_unlocked(tmp_path)
    (tmp_path / LOCK).unlink()
    with directory_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 3}', "\0\0", "{}"])
def test_a_truncated_lock_file_is_no_obstacle_unless_it_names_another_host(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / LOCK).write_text(content)
    if "host" in content:
        with pytest.raises(LockedError, match="if it has ended, delete"):
            require_unlocked(tmp_path)
        return
    with directory_lock(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_without_flock_ids_and_start_times_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without flock, a reused process id is recognised by its start time."""

    def refuse(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", refuse)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        owner = {"pid": process.pid, "host": platform.node()}
        owner["process"] = module._start_of(process.pid)
        (tmp_path / LOCK).write_text(json.dumps(owner))
        with pytest.raises(LockedError, match=f"process {process.pid} on"):
            require_unlocked(tmp_path)
        # The same id, but of an earlier process.
        (tmp_path / LOCK).write_text(json.dumps(owner | {"process": "earlier"}))
        require_unlocked(tmp_path)
    finally:
        process.kill()
        process.wait()
    (tmp_path / LOCK).write_text(json.dumps(owner))
    with directory_lock(tmp_path):  # the process is dead now
        pass


def test_only_one_of_many_processes_takes_over_a_dead_ones_lock(tmp_path: Path) -> None:
    end(holder(tmp_path))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from craft.runtime.directory_lock import LockedError, directory_lock\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    with directory_lock(Path(sys.argv[1])):\n"
        "        print('held', flush=True)\n"
        "        sys.stdin.readline()\n"
        "except LockedError: print('refused', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in processes if process.stdout]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["held", "refused", "refused", "refused"]


def test_a_child_that_was_ended_by_a_signal_leaves_no_obstacle(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    with directory_lock(tmp_path):
        pass
