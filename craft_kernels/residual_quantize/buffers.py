"""Memory for the native kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from craft_kernels.backends import native_module


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised and on the CPU whatever the default device, on huge pages if it is large."""
    tensor = torch.empty(shape, dtype=dtype, device="cpu")
    if tensor.nbytes >= 4 << 20:
        native_module().advise_huge_pages(tensor.data_ptr(), tensor.nbytes)
    return tensor
