"""The pruning order on a GPU: four passes over all pairs of an image's tokens."""

# A launch accepts compiler options that are not parameters of the kernel.
# pyright: reportCallIssue=false

import functools

import torch
from torch import Tensor

from craft_kernels.prune import tables
from craft_kernels.prune.triton.cues import measure_cues
from craft_kernels.prune.triton.order import find_critical_values, place_tokens, score_tokens
from craft_kernels.triton_target import ceil_div, current_target, next_power_of_2, on_device


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
    batch, count = ids.shape
    order = torch.empty_like(ids)
    if not batch:
        return order
    log_counts, distances, weight = _constants(grid, isolation_weight, str(ids.device))
    counts = torch.empty_like(ids, dtype=torch.int32)
    residual_ranks = torch.empty_like(counts)
    isolations, log_priors = torch.empty_like(ids), torch.empty_like(ids)
    scores = torch.empty_like(ids, dtype=torch.float64)
    criticals = torch.empty_like(scores)
    # How many tokens a program handles, and how many others it compares them with at a time.
    block_i, block_j = (256, 1024) if current_target()[0] == "interpreter" else (16, 64)
    block_i = min(block_i, next_power_of_2(count))
    block_j = min(block_j, next_power_of_2(count))
    programs = (batch * ceil_div(count, block_i),)
    shared = {"BLOCK_I": block_i, "BLOCK_J": block_j, "num_warps": 4, "enable_fp_fusion": False}
    with on_device(ids):
        measure_cues[programs](
            ids,
            residual_sq,
            prior,
            distances,
            counts,
            residual_ranks,
            isolations,
            log_priors,
            count,
            grid[1],
            min(neighbors, count),
            **shared,
        )
        score_tokens[programs](
            ids, counts, residual_ranks, isolations, weight, scores, count, **shared
        )
        find_critical_values[programs](
            ids, counts, scores, log_priors, log_counts, criticals, count, **shared
        )
        place_tokens[programs](criticals, log_priors, scores, order, count, **shared)
    return order


@functools.lru_cache(maxsize=16)
def _constants(
    grid: tuple[int, int], isolation_weight: float, device: str
) -> tuple[Tensor, Tensor, Tensor]:  # [N + 1] int64, [H, W] int64, [1] float64
    """The tables on the device, and the weight: a scalar kernel argument would be float32."""
    log_counts = tables.log_counts(grid[0] * grid[1])
    weight = torch.tensor([isolation_weight], dtype=torch.float64)
    return log_counts.to(device), tables.distances(*grid).to(device), weight.to(device)
