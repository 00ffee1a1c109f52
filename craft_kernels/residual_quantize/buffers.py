"""Memory for the native kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU, whatever the default device."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def round_up(n: int, step: int) -> int:
    """The least multiple of `step` that is >= n."""
    return -(-n // step) * step
