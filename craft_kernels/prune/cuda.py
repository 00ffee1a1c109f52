"""The pruning order on an NVIDIA GPU, in CUDA C++ (csrc/cuda/prune_order.cu)."""

import functools

import torch
from torch import Tensor

from craft_kernels.backends import cuda_module
from craft_kernels.prune import tables
from craft_kernels.triton_target import on_device


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
    if not ids.numel():
        return order
    cuda = cuda_module()
    log_counts, distances, offsets = _tables(grid, str(ids.device))
    scratch = ids.new_empty(cuda.prune_scratch_bytes(ids.numel()), dtype=torch.uint8)
    with on_device(ids):
        cuda.prune_order(
            batch=ids.shape[0],
            height=grid[0],
            width=grid[1],
            neighbors=neighbors,
            isolation_weight=isolation_weight,
            ids=ids.data_ptr(),
            residual_sq=residual_sq.data_ptr(),
            prior=prior.data_ptr(),
            log_counts=log_counts.data_ptr(),
            distances=distances.data_ptr(),
            offsets=offsets.data_ptr(),
            order=order.data_ptr(),
            scratch=scratch.data_ptr(),
            stream=torch.cuda.current_stream(ids.device).cuda_stream,
        )
    return order


@functools.lru_cache(maxsize=16)
def _tables(grid: tuple[int, int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """The tables log_counts, distances and nearest_offsets, copied to the GPU."""
    made = tables.log_counts(grid[0] * grid[1]), tables.distances(*grid)
    log_counts, distances, offsets = (t.to(device) for t in (*made, tables.nearest_offsets(*grid)))
    return log_counts, distances, offsets
