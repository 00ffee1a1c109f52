"""Child processes that end with their parent, however that ends: they watch a pipe that it holds.

``python -m craft.runtime.own_process MODULE [ARGUMENT ...]`` runs a module until standard input
ends.
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
    """End this process, whatever it does, as soon as ``wait``, in a thread, returns or fails."""

    def watch() -> None:
        try:
            wait()
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """What ``python -m module`` prints last, as JSON: peak memory is a process's, so each variant
    needs its own.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "craft.runtime.own_process", module, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            output = process.stdout.read()  # while standard input stays open
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
