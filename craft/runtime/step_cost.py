"""Time and memory of a training step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from craft.runtime.memory import peak_memory


def step_cost(step: Callable[[], None], steps: int) -> dict[str, Any]:
    """Seconds of each of ``steps`` steps, and peak memory of this process in MiB, including weights
    and optimiser. One step before them creates the optimiser's state and packs the codebook."""
    step()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds, "peak_mib": peak_memory()}


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON that ``python -m module`` prints last. Peak memory belongs to a process, so each
    variant needs its own."""
    command = [sys.executable, "-m", module, *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])
