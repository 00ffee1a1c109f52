"""Peak multiply-add rates of this processor's units, measured by loops compiled for it."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")


@functools.cache
def _library() -> ctypes.CDLL:
    built = Path(tempfile.mkdtemp()) / "fma_peak.so"
    compiler = os.environ.get("CXX", "c++")
    options = ["-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-pthread", SOURCE, "-o", built], check=True)
    library = ctypes.CDLL(str(built))
    library.float32_peak.restype = library.bfloat16_peak.restype = ctypes.c_double
    return library


def peaks_tflops(threads: int) -> dict[str, float]:
    """Unit -> TFLOP/s of ``threads`` threads together, the best of three.

    AMX is left out: its rate changes from minute to minute with the load of other guests.
    """
    library = _library()
    rates = {
        "float32 FMA": max(library.float32_peak(threads) for _ in range(3)) / 1e12,
        "AVX512-BF16": max(library.bfloat16_peak(threads) for _ in range(3)) / 1e12,
    }
    return {unit: rate for unit, rate in rates.items() if rate > 0}
