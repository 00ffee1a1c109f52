"""The process's memory: settings of the allocator, current use and peak use.

torch is imported only when needed, because the allocator must be configured first.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
#: Bytes of freed memory that are kept from batch to batch.
SLACK = 256 << 20


def keep_freed_memory() -> None:
    """Tell glibc not to return freed blocks to the kernel; a no-op without glibc.

    Training frees and allocates the same tensors at every step. By default, each allocation of more
    than 32 MiB is mapped and later unmapped, and each of its pages faults again. On a CPU this took
    half the time of a small training step.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)


class FreedMemory:
    """Gives freed memory back to the system between batches.

    What is small and stays, such as codes, comes to lie in the gaps that large tensors left, so
    that the next ones do not fit there: the heap would grow with the data set though little of it
    is in use. A batch that takes less than :data:`SLACK` bytes finds again what those before it
    freed; a larger one pays for page faults once, not at each of its tensors.
    """

    def __init__(self) -> None:
        self._trim = _glibc("malloc_trim")
        self._floor = 0  # what was left when freed memory was given back

    def between_batches(self) -> None:
        """To be called whenever a batch's tensors are freed."""
        if self._trim is not None and _anonymous() > self._floor + SLACK:
            self._trim(0)
            self._floor = _anonymous()


def _glibc(name: str) -> Any:
    """A function of glibc; None without it."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)


def _anonymous() -> int:
    """Resident bytes of this process that are no file's, by /proc; 0 if it does not tell."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("RssAnon"):
                return 1024 * int(line.split()[1])
    return 0


#: Of this process.
freed_memory = FreedMemory()


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
