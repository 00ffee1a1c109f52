"""Times variants in turn, so that whatever else the machine does strikes them alike."""

from __future__ import annotations

import ctypes
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call; each round calls every variant once. Call them once before."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            begin = clock()
            variant()
            seconds[name].append(clock() - begin)
    return seconds


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """p20, p50, p80."""
    if len(seconds) == 1:
        return seconds[0], seconds[0], seconds[0]
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return deciles[1], deciles[4], deciles[7]


def peak_extra_bytes(call: Callable[[], object]) -> int:
    """How far resident memory rises above where it stood, sampled all the while.

    The call runs on a thread of its own, so that buffers which a thread keeps count as well.
    Memory that was freed but kept for later would hide what the call takes, and is given back
    first. Linux with glibc only.
    """
    ctypes.CDLL(None).malloc_trim(0)
    statm = Path("/proc/self/statm")

    def resident() -> int:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = peak = resident()
    worker = threading.Thread(target=call)
    worker.start()
    while worker.is_alive():
        peak = max(peak, resident())
        worker.join(1e-4)
    return max(peak, resident()) - before
