"""The path for small D: one launch takes a block of tokens through all levels.

The block's residuals, whole, are one operand of every product, so only the codebook is read.
"""

import triton
import triton.language as tl

from craft_kernels.residual_quantize.triton.exact_sign import distance_sign
from craft_kernels.residual_quantize.triton.score_bound import (
    bound_from_dot,
    bound_in_float64,
    near_threshold,
)

_LANES = tl.constexpr(16)


@triton.jit
def _tile_scores(
    operand,  # [BLOCK_N, BLOCK_D] float32 or bfloat16; values, not a pointer
    words,  # [K, D] same dtype
    half_sq_norms,  # [K] float32
    start,
    K,
    D,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # [BLOCK_N, BLOCK_K] float32
    """<r_n, c_k> - |c_k|^2 / 2 of codewords start, start + 1, ...; -inf beyond the last."""
    k = start + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    at = k.to(tl.int64)[None, :] * D + d[:, None]
    tile = tl.load(words + at, mask=(k < K)[None, :] & (d < D)[:, None], other=0.0)
    half = tl.load(half_sq_norms + k, mask=k < K, other=float("inf"))
    return tl.dot(operand, tile, input_precision=PRECISION) - half[None, :]


@triton.jit
def _scores_in_float64(
    residual,  # [N, D] float32
    words,  # [K, D] float32
    half_sq_norms64,  # [K]
    n,  # [BLOCK_N] int64
    j,  # [BLOCK_N] int32: one codeword per token
    active,  # [BLOCK_N]
    D,
):  # [BLOCK_N] float64
    total = tl.zeros(n.shape, tl.float64)
    code = j.to(tl.int64)
    for start in range(0, D, _LANES):
        at = start + tl.arange(0, _LANES)
        mask = active[:, None] & (at < D)[None, :]
        r = tl.load(residual + n[:, None] * D + at[None, :], mask=mask, other=0.0)
        c = tl.load(words + code[:, None] * D + at[None, :], mask=mask, other=0.0)
        total += tl.sum(r.to(tl.float64) * c.to(tl.float64), 1)
    return total - tl.load(half_sq_norms64 + code, mask=active, other=0.0)


@triton.jit
def _sums_of_squares(
    residual,  # [N, D] float32
    n,  # [BLOCK_N] int64
    here,  # [BLOCK_N]
    D,
    BLOCK_N: tl.constexpr,
):  # [BLOCK_N] float64
    """nearest.sum_of_squares for every token."""
    lanes = tl.arange(0, _LANES)
    total = tl.zeros((BLOCK_N, _LANES), tl.float64)
    for start in range(0, D, _LANES):
        mask = here[:, None] & (start + lanes < D)[None, :]
        value = tl.load(residual + n[:, None] * D + start + lanes[None, :], mask=mask, other=0.0)
        total += value.to(tl.float64) * value.to(tl.float64)
    lower, upper = tl.split(tl.permute(tl.reshape(total, (BLOCK_N, 2, 8)), (0, 2, 1)))
    lower, upper = tl.split(tl.permute(tl.reshape(lower + upper, (BLOCK_N, 2, 4)), (0, 2, 1)))
    lower, upper = tl.split(tl.permute(tl.reshape(lower + upper, (BLOCK_N, 2, 2)), (0, 2, 1)))
    return tl.sum(lower + upper, 1)


@triton.jit(do_not_specialize=["N"])
def fused_levels(
    residual,  # [N, D] float32, in: z, out: after the last level
    quantized,  # [N, D] float32, out
    codes,  # [N, L] int64, out
    sq_norms,  # [N, L] float32, out
    words,  # [B, K, D] float32, with B = L, or B = 1 if all levels share them
    operands,  # [B, K, D] float32 or bfloat16: the words in the product's format
    half_sq_norms,  # [B, K] float32
    half_sq_norms64,  # [B, K]
    limits,  # [B, 3] float64: max_norm, max_error, relative of score_bound.py
    N,
    K,
    D,
    L,
    B,
    PRECISION: tl.constexpr,
    ROUNDED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    first_token = tl.program_id(0).to(tl.int64) * BLOCK_N
    rows = tl.arange(0, BLOCK_N)
    n = first_token + rows
    here = n < N
    d = tl.arange(0, BLOCK_D)
    at = n[:, None] * D + d[None, :]
    mask = here[:, None] & (d < D)[None, :]
    lanes = tl.arange(0, BLOCK_K)[None, :]
    r = tl.load(residual + at, mask=mask, other=0.0)
    for level in range(L):
        book = tl.minimum(level, B - 1).to(tl.int64)
        level_words = words + book * K * D
        level_operands = operands + book * K * D
        level_half = half_sq_norms + book * K
        max_norm = tl.load(limits + book * 3)
        max_error = tl.load(limits + book * 3 + 1)
        relative = tl.load(limits + book * 3 + 2)
        wide = r.to(tl.float64)
        norm = tl.sqrt(tl.sum(wide * wide, 1))
        norm_error = tl.zeros((BLOCK_N,), tl.float64)
        if ROUNDED:
            operand = r.to(tl.bfloat16)
            lost = wide - operand.to(tl.float32).to(tl.float64)
            norm_error = tl.sqrt(tl.sum(lost * lost, 1))
        else:
            operand = r

        # The greatest score, its codeword, and the second greatest score.
        greatest = tl.full((BLOCK_N,), float("-inf"), tl.float32)
        second = tl.full((BLOCK_N,), float("-inf"), tl.float32)
        best = tl.zeros((BLOCK_N,), tl.int32)
        for start in range(0, K, BLOCK_K):
            scores = _tile_scores(  # type: ignore[misc]
                operand, level_operands, level_half, start, K, D, PRECISION, BLOCK_K, BLOCK_D
            )
            top = tl.max(scores, 1)
            lane = tl.min(tl.where(scores == top[:, None], lanes, BLOCK_K), 1)
            next_to_top = tl.max(tl.where(lanes == lane[:, None], float("-inf"), scores), 1)
            second = tl.maximum(tl.maximum(second, next_to_top), tl.minimum(greatest, top))
            best = tl.where(top > greatest, start + lane, best)
            greatest = tl.maximum(greatest, top)

        # If the second is near, all that are near are examined again. Comparisons are written so
        # that a NaN score counts as near.
        bound = bound_from_dot(norm, norm_error, max_norm, max_error, relative, D)
        threshold = near_threshold(greatest, bound)
        open_tokens = here & ((second < threshold) == 0)
        if tl.max(open_tokens.to(tl.int32), 0) > 0:
            margin = 2 * bound_in_float64(norm, max_norm, D)
            best = tl.where(open_tokens, -1, best)
            best_score = tl.full((BLOCK_N,), float("-inf"), tl.float64)
            for start in range(0, K, BLOCK_K):
                scores = _tile_scores(  # type: ignore[misc]
                    operand, level_operands, level_half, start, K, D, PRECISION, BLOCK_K, BLOCK_D
                )
                near = open_tokens[:, None] & (start + lanes < K)
                near = near & ((scores < threshold[:, None]) == 0)
                lane = tl.min(tl.where(near, lanes, BLOCK_K), 1)
                while tl.min(lane, 0) < BLOCK_K:  # one codeword of every open token at a time
                    active = lane < BLOCK_K
                    j = start + lane
                    score = _scores_in_float64(  # type: ignore[misc]
                        residual, level_words, half_sq_norms64 + book * K, n, j, active, D
                    )
                    lead = score - best_score
                    wins = active & ((best < 0) | (lead > margin))
                    tied = active & (best >= 0) & (lead >= -margin) & (lead <= margin)
                    row = tl.min(tl.where(tied, rows, BLOCK_N), 0)
                    while row < BLOCK_N:
                        champion = tl.sum(tl.where(rows == row, best, 0), 0)
                        challenger = tl.sum(tl.where(rows == row, j, 0), 0)
                        sign = distance_sign(
                            residual + (first_token + row) * D,
                            level_words + champion.to(tl.int64) * D,
                            level_words + challenger.to(tl.int64) * D,
                            D,
                        )
                        closer = (sign > 0) | ((sign == 0) & (challenger < champion))
                        wins = tl.where(rows == row, closer, wins)
                        row = tl.min(tl.where(tied & (rows > row), rows, BLOCK_N), 0)
                    best = tl.where(wins, j, best)
                    best_score = tl.where(wins, score, best_score)
                    lane = tl.min(tl.where(near & (lanes > lane[:, None]), lanes, BLOCK_K), 1)

        # A residual that is not finite has no nearest codeword; gpu_tiles.py reports it.
        code = tl.maximum(best, 0).to(tl.int64)
        c = tl.load(level_words + code[:, None] * D + d[None, :], mask=mask, other=0.0)
        r -= c
        total = tl.load(quantized + at, mask=mask & (level > 0), other=0.0)
        tl.debug_barrier()  # other threads may still be reading the residuals
        tl.store(quantized + at, tl.where(level > 0, total + c, c), mask=mask)
        tl.store(residual + at, r, mask=mask)
        tl.debug_barrier()
        sums = _sums_of_squares(residual, n, here, D, BLOCK_N)  # type: ignore[misc]
        tl.store(codes + n * L + level, code, mask=here)
        tl.store(sq_norms + n * L + level, sums.to(tl.float32), mask=here)
