"""From cues to the order: scores, slots, critical values, positions.

Launched without fused multiply-add, so that float64 gives the same bits as on the CPU.
"""

import triton
import triton.language as tl


@triton.jit
def score_tokens(
    ids,  # [B, N] int64
    counts,  # [B, N] int32
    residual_ranks,  # [B, N] int32
    isolations,  # [B, N] int64
    weight,  # [1] float64: isolation_weight
    scores,  # [B, N] float64, out
    N,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """((1 - w) residual rank + w isolation rank) / (2 (n - 1)): cues scaled by rank to [0, 1]."""
    blocks = tl.cdiv(N, BLOCK_I)
    image = (tl.program_id(0) // blocks).to(tl.int64) * N
    i = (tl.program_id(0) % blocks) * BLOCK_I + tl.arange(0, BLOCK_I)
    token_id = tl.load(ids + image + i, mask=i < N, other=-1)
    isolation = tl.load(isolations + image + i, mask=i < N, other=0)
    rank = tl.full((BLOCK_I,), -1, tl.int32)
    for start in range(0, N, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        other_id = tl.load(ids + image + j, mask=j < N, other=-2)
        other = tl.load(isolations + image + j, mask=j < N, other=0)
        same = token_id[:, None] == other_id[None, :]
        rank += 2 * tl.sum((same & (other[None, :] < isolation[:, None])).to(tl.int32), 1)
        rank += tl.sum((same & (other[None, :] == isolation[:, None])).to(tl.int32), 1)
    w = tl.load(weight)
    residual_rank = tl.load(residual_ranks + image + i, mask=i < N, other=0)
    score = (1 - w) * residual_rank.to(tl.float64) + w * rank.to(tl.float64)
    n = tl.load(counts + image + i, mask=i < N, other=1)
    best = tl.maximum(2 * (n - 1), 1).to(tl.float64)
    # A cue without contrast counts as one half.
    tl.store(scores + image + i, tl.where(n > 1, score / best, 0.5), mask=i < N)


@triton.jit
def find_critical_values(
    ids,  # [B, N] int64
    counts,  # [B, N] int32
    scores,  # [B, N] float64
    log_priors,  # [B, N] int64
    log_counts,  # [N + 1] int64
    criticals,  # [B, N] float64, out
    N,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """(ln n - ln slot) / (ln p - ln p_min), where slot counts the better tokens of the ID.

    Slot 0 outlives the later slots of the rarest ID, which outlive all finite critical values.
    """
    blocks = tl.cdiv(N, BLOCK_I)
    image = (tl.program_id(0) // blocks).to(tl.int64) * N
    i = (tl.program_id(0) % blocks) * BLOCK_I + tl.arange(0, BLOCK_I)
    token_id = tl.load(ids + image + i, mask=i < N, other=-1)
    score = tl.load(scores + image + i, mask=i < N, other=0.0)[:, None]
    log_prior = tl.load(log_priors + image + i, mask=i < N, other=0)
    slot = tl.zeros((BLOCK_I,), tl.int32)
    least = tl.full((BLOCK_J,), 2**62, tl.int64)
    for start in range(0, N, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        other_id = tl.load(ids + image + j, mask=j < N, other=-2)
        other = tl.load(scores + image + j, mask=j < N, other=0.0)[None, :]
        better = (other > score) | ((other == score) & (j[None, :] < i[:, None]))
        slot += tl.sum(((token_id[:, None] == other_id[None, :]) & better).to(tl.int32), 1)
        least = tl.minimum(least, tl.load(log_priors + image + j, mask=j < N, other=2**62))
    log_weight = log_prior - tl.min(least, 0)
    n = tl.load(counts + image + i, mask=i < N, other=0)
    drop = tl.load(log_counts + n) - tl.load(log_counts + slot, mask=i < N, other=0)
    critical = drop.to(tl.float64) / tl.where(log_weight == 0, 1, log_weight).to(tl.float64)
    critical = tl.where(log_weight == 0, 1.7976931348623157e308, critical)
    critical = tl.where(slot == 0, float("inf"), critical)
    tl.store(criticals + image + i, critical, mask=i < N)


@triton.jit
def place_tokens(
    criticals,  # [B, N] float64
    log_priors,  # [B, N] int64
    scores,  # [B, N] float64
    order,  # [B, N] int64, out
    N,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """A token's place is the number of tokens that are kept longer.

    They have a higher critical value, a rarer ID, a higher score, or come first in raster order, in
    this order of precedence. No two tokens are equal.
    """
    blocks = tl.cdiv(N, BLOCK_I)
    image = (tl.program_id(0) // blocks).to(tl.int64) * N
    i = (tl.program_id(0) % blocks) * BLOCK_I + tl.arange(0, BLOCK_I)
    critical = tl.load(criticals + image + i, mask=i < N, other=0.0)[:, None]
    log_prior = tl.load(log_priors + image + i, mask=i < N, other=0)[:, None]
    score = tl.load(scores + image + i, mask=i < N, other=0.0)[:, None]
    place = tl.zeros((BLOCK_I,), tl.int32)
    for start in range(0, N, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        # Tokens beyond the last come after all others.
        its_critical = tl.load(criticals + image + j, mask=j < N, other=float("-inf"))[None, :]
        its_log_prior = tl.load(log_priors + image + j, mask=j < N, other=0)[None, :]
        its_score = tl.load(scores + image + j, mask=j < N, other=0.0)[None, :]
        first = j[None, :] < i[:, None]
        first = (its_score > score) | ((its_score == score) & first)
        first = (its_log_prior < log_prior) | ((its_log_prior == log_prior) & first)
        first = (its_critical > critical) | ((its_critical == critical) & first)
        place += tl.sum(first.to(tl.int32), 1)
    tl.store(order + image + place, i.to(tl.int64), mask=i < N)
