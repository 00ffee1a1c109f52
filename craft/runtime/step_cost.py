"""Time and memory of a training step."""

from __future__ import annotations

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
