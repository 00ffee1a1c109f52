"""Exact, fast kernels for residual quantisation and token pruning, as torch ops."""

from craft_kernels.backends import BackendInfo, backend_info
from craft_kernels.frozen_codebook import FrozenCodebook
from craft_kernels.ops import ResidualCodes, prune_order, residual_quantize
from craft_kernels.residual_quantize.finite_checks import deferred_finite_checks

__all__ = [
    "BackendInfo",
    "FrozenCodebook",
    "ResidualCodes",
    "backend_info",
    "deferred_finite_checks",
    "prune_order",
    "residual_quantize",
]
