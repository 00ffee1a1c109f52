"""The process's memory: settings of the allocator, current use and peak use.

torch is imported only when needed, because the allocator must be configured first.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell glibc not to return freed blocks to the kernel; a no-op without glibc.

    Training frees and allocates the same tensors at every step. By default, each allocation of more
    than 32 MiB is mapped and later unmapped, and each of its pages faults again. On a CPU this took
    half the time of a small training step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)


def memory_in_use() -> int:
    """Bytes that this process holds now: GPU memory if it uses a GPU, otherwise resident memory.

    Takes microseconds and imports nothing. Where the system does not report the current amount,
    the peak is returned.
    """
    loaded = sys.modules.get("torch")
    if loaded is not None and loaded.cuda.is_initialized():
        return int(loaded.cuda.memory_reserved())
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory(device: torch.device | None = None) -> float:
    """Peak memory so far in MiB: of the GPU if ``device`` is one, otherwise of the process."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
