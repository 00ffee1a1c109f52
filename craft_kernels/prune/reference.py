"""The pruning order, written plainly: every other backend is tested against it.

Rarity-weighted allocation gives ID k the quota m_k = ceil(n_k w_k^gamma), with n_k its tokens in
the image and w_k = min p / p_k. Slot c of the ID, its c-th best token, survives exactly as long as

    gamma < gamma_{k,c} = ln(n_k / c) / ln(1 / w_k)     (infinite for c = 0 and for the rarest ID)

so sorting tokens by that critical value gives, for every budget M, the M tokens the quotas keep.
"""

import math

import torch
from torch import Tensor

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
    orders = [
        _image_order(image_ids, residuals, prior, grid, neighbors, isolation_weight)
        for image_ids, residuals in zip(ids.cpu(), residual_sq.cpu(), strict=True)
    ]
    if not orders:
        return torch.empty_like(ids)
    return torch.tensor(orders, dtype=torch.int64, device=ids.device)


def _image_order(
    ids: Tensor,  # [N]
    residual_sq: Tensor,  # [N]
    prior: Tensor,
    grid: tuple[int, int],
    neighbors: int,
    isolation_weight: float,
) -> list[int]:
    log_counts = tables.log_counts(len(ids)).tolist()
    distinct = ids.unique()
    log_priors = tables.fixed_log(prior.cpu()[distinct]).tolist()
    rarest = min(log_priors)

    keys = []
    for token_id, log_prior in zip(distinct.tolist(), log_priors, strict=True):
        positions = (ids == token_id).nonzero().flatten()
        n = len(positions)
        residual_rank = _ranks(residual_sq[positions])
        isolation_rank = _ranks(isolation(positions, grid, neighbors))
        score = (1 - isolation_weight) * residual_rank + isolation_weight * isolation_rank
        if n > 1:
            score = score / (2 * (n - 1))
        else:
            score = score + 0.5  # a cue without contrast counts as one half
        best_first = sorted(zip((-score).tolist(), positions.tolist(), strict=True))
        for slot, (negated_score, position) in enumerate(best_first):
            if slot == 0 or log_prior == rarest:
                critical = math.inf
            else:
                critical = (log_counts[n] - log_counts[slot]) / (log_prior - rarest)
            # With fewer tokens to keep than there are IDs, the most frequent IDs go first.
            keys.append((-critical, slot > 0, log_prior, negated_score, position))
    # slot > 0 decides only among infinite values: a finite critical value has slot > 0.
    return [key[-1] for key in sorted(keys)]


def isolation(
    positions: Tensor,  # [n] int64, raster positions of one ID's tokens
    grid: tuple[int, int],
    neighbors: int,
) -> Tensor:  # [n] int64
    """The sum of the distances to the min(neighbors, n - 1) nearest tokens, in fixed point."""
    rows, columns = positions // grid[1], positions % grid[1]
    between = tables.distances(*grid)[
        (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    ]
    nearest = between.sort(dim=1).values[:, 1 : neighbors + 1]  # column 0 is the token itself
    return nearest.sum(dim=1)


def _ranks(cue: Tensor) -> Tensor:  # [n] -> [n] float64
    """Twice the average rank (an integer): 0 for the smallest, 2 (n - 1) for the largest."""
    less = (cue[:, None] > cue).sum(dim=1)
    equal = (cue[:, None] == cue).sum(dim=1)
    return (2 * less + equal - 1).double()
