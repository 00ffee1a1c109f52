"""What a training step costs in time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from craft.runtime.memory import peak_memory


def step_cost(step: Callable[[], None], steps: int) -> dict[str, Any]:
    """Seconds of each of ``steps`` steps, after one that makes the optimiser's state and packs the
    codebook, and the largest memory of this process in MiB, weights and optimiser included."""
    step()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds, "peak_mib": peak_memory()}
