"""A child process returns its last line, and ends when its parent does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from craft.runtime.own_process import in_own_process

CHILD = """
import json, os, sys, time
print("first")
print(json.dumps({"arguments": sys.argv[1:], "name": __name__, "pid": os.getpid()}), flush=True)
if "wait" in sys.argv:
    with open(sys.argv[-1], "w") as file: file.write(str(os.getpid()))
    time.sleep(60)
if "fail" in sys.argv:
    raise SystemExit(3)
"""
PARENT = """
import sys
from craft.runtime.own_process import in_own_process
in_own_process("child", "wait", sys.argv[1])
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return tmp_path


def test_the_last_line_is_the_result(child: Path) -> None:
    found = in_own_process("child", "a", "--b=c")
    assert found["arguments"] == ["a", "--b=c"]
    assert found["name"] == "__main__"
    assert found["pid"] != os.getpid()


def test_a_failure_is_told(child: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        in_own_process("child", "fail")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_parent(child: Path, number: int) -> None:
    """Only the parent receives the signal."""
    noted = child / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, noted], stderr=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while not (noted.exists() and noted.read_text()) and time.monotonic() - began < 60:
            time.sleep(0.02)
        pid = int(noted.read_text())
        os.kill(pid, 0)
        parent.send_signal(number)
        parent.wait(20)
        began = time.monotonic()
        while alive(pid) and time.monotonic() - began < 20:
            time.sleep(0.02)
        assert not alive(pid)
    finally:
        parent.kill()
        parent.wait()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
