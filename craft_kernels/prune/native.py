"""The pruning order on the CPU, in C++ (csrc/prune_order.cpp)."""

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.prune import tables


def prune_order(
    ids: Tensor,  # [B, N] int64
    residual_sq: Tensor,  # [B, N] float32
    prior: Tensor,  # [K] float32
    grid: tuple[int, int],  # (H, W), H W = N
    neighbors: int,
    isolation_weight: float,
) -> Tensor:  # [B, N] int64
    """craft_kernels.ops.prune_order, for validated arguments."""
    ids, residual_sq, prior = ids.contiguous(), residual_sq.contiguous(), prior.contiguous()
    order = torch.empty_like(ids)
    native, threads = native_module(), torch.get_num_threads()
    lanes = min(ids.shape[0], threads)
    scratch = ids.new_empty(lanes * ids.shape[1] * native.PRUNE_SCRATCH_BYTES, dtype=torch.uint8)
    native.prune_order(
        ids.shape[0],
        *grid,
        neighbors,
        isolation_weight,
        ids.data_ptr(),
        residual_sq.data_ptr(),
        prior.data_ptr(),
        tables.log_counts(ids.shape[1]).data_ptr(),
        tables.distances(*grid).data_ptr(),
        tables.nearest_offsets(*grid).data_ptr(),
        order.data_ptr(),
        scratch.data_ptr(),
        lanes,
        threads,
    )
    return order
