"""Time and memory of a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from craft.runtime.memory import peak_memory


def step_cost(step: Callable[[], None], steps: int) -> dict[str, Any]:
    """Measure the seconds of each of ``steps`` steps and the peak memory of this process in MiB.

    Memory includes weights and optimiser state. An untimed first step creates the optimiser state
    and packs the codebook.
    """
    step()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds, "peak_mib": peak_memory()}
