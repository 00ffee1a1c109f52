"""Child processes that end with their parent, however it ends, by watching a pipe that it holds.

``python -m craft.runtime.own_process MODULE [ARGUMENT ...]`` runs a module until it finishes or
standard input is closed.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any


def end_after(wait: Callable[[], object]) -> None:
    """Run ``wait`` in a thread, and end this process at once when it returns or fails."""

    def watch() -> None:
        try:
            wait()
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """Run ``python -m module`` and return the last line it prints, parsed as JSON.

    Peak memory is counted per process, so each measured variant needs a process of its own.

    Raises:
        CalledProcessError: the module failed.
    """
    command = [sys.executable, "-m", "craft.runtime.own_process", module, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            output = process.stdout.read()  # standard input must stay open meanwhile
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    end_after(sys.stdin.read)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
