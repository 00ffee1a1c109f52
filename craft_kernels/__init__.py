"""Exact, fast kernels for residual quantisation and token pruning, as torch ops."""

from craft_kernels.backends import BackendInfo, backend_info
from craft_kernels.frozen_codebook import FrozenCodebook
from craft_kernels.ops import ResidualCodes, prune_order, residual_quantize

__all__ = [
    "BackendInfo",
    "FrozenCodebook",
    "ResidualCodes",
    "backend_info",
    "prune_order",
    "residual_quantize",
]
