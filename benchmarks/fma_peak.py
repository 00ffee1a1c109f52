"""The processor's float32 multiply-add peak, by a loop that is compiled for it when first asked."""

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
    library.fma_peak.restype = ctypes.c_double
    return library


def fma_peak_tflops(threads: int) -> float:
    """TFLOP/s of `threads` threads together, the best of three."""
    return max(_library().fma_peak(threads) for _ in range(3)) / 1e12
