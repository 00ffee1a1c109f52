"""Memory for the native kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised, and on the CPU whatever the default device."""
    return torch.empty(shape, dtype=dtype, device="cpu")
