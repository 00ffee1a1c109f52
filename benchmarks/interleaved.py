"""Time variants in turn, so that other load on the machine affects all of them alike."""

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
    """Seconds of every call; each round calls every variant once. Warm the variants up before."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            begin = clock()
            variant()
            seconds[name].append(clock() - begin)
    return seconds


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentiles."""
    if len(seconds) == 1:
        return seconds[0], seconds[0], seconds[0]
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return deciles[1], deciles[4], deciles[7]


def peak_extra_bytes(call: Callable[[], object]) -> int:
    """Increase of resident memory during a call, at its sampled peak.

    The call runs in its own thread, so that thread-local buffers count as well. Freed memory that
    the allocator keeps would hide what the call takes, so it is returned to the system first. Linux
    with glibc only.
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
