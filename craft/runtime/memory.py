"""The process's memory: how freed blocks are kept, and how much is and was used.

Nothing here imports torch before it is needed: the allocator must be set up first.
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
    """Tell glibc not to give freed blocks back to the kernel; does nothing elsewhere.

    Training frees and takes the same tensors at every step. By default a block over 32 MiB is
    mapped and unmapped by every allocation, and each of its pages faults again; on a CPU that took
    half of the time of a small training step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)


def memory_in_use() -> int:
    """Bytes that this process holds now: of a GPU's memory if it computes there, else resident.

    Costs microseconds and imports nothing. Where the system does not tell, it is the largest
    amount the process ever held.
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
    """Largest memory so far in MiB: the GPU's if ``device`` is one, else the process's."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
