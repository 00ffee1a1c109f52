"""The body of the pruning op: it checks the values and chooses an implementation."""

import importlib

from torch import Tensor

from craft_kernels.backends import resolve_impl
from craft_kernels.prune import cuda, native, reference
from craft_kernels.prune.arguments import check_values
from craft_kernels.triton_target import capturing


def prune_order(
    ids: Tensor,  # [B, N] int64
    residual_sq: Tensor,  # [B, N] float32
    prior: Tensor,  # [K] float32
    height: int,
    width: int,
    neighbors: int,
    isolation_weight: float,
    impl: str,
) -> Tensor:  # [B, N] int64
    if not capturing(ids):
        check_values(ids, residual_sq, prior)
    resolved = resolve_impl(impl, ids)
    if resolved == "triton":
        backend = importlib.import_module("craft_kernels.prune.triton.launch")
    else:
        backend = {"native": native, "cuda": cuda, "reference": reference}[resolved]
    grid = (height, width)
    return backend.prune_order(ids, residual_sq, prior, grid, neighbors, isolation_weight)
