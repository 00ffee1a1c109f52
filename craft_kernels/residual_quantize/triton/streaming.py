"""The path for any codebook: per level, a product that stores only the greatest score of each group
of 16 codewords, then one program per token that settles its code."""

import triton
import triton.language as tl

from craft_kernels.residual_quantize.triton.nearest import (
    group_scores,
    nearer,
    norms,
    take_codeword,
)
from craft_kernels.residual_quantize.triton.score_bound import (
    bound_from_dot,
    bound_in_float64,
    near_threshold,
)


@triton.jit(do_not_specialize=["N"])
def screen(
    operand,  # [N, D] float32 or bfloat16
    words,  # [K, D] same dtype
    half_sq_norms,  # [K] float32
    maxima,  # [N, G] float32, G = ceil(K / GROUP)
    N,
    K,
    D,
    G,
    PRECISION: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """maxima[n, g] = max over the group of <r_n, c_j> - |c_j|^2 / 2, in fast arithmetic."""
    # Programs of one codebook tile are neighbours, so that it is read from L2 and not from memory.
    blocks = tl.cdiv(N, BLOCK_N)
    n = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    tile = tl.program_id(0) // blocks
    k = tile.to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    a = operand + n[:, None] * D + d[None, :]
    b = words + k[None, :] * D + d[:, None]
    scores = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for start in range(0, D, BLOCK_D):
        inside = start + d < D
        x = tl.load(a + start, mask=(n < N)[:, None] & inside[None, :], other=0.0)
        y = tl.load(b + start, mask=(k < K)[None, :] & inside[:, None], other=0.0)
        scores = tl.dot(x, y, scores, input_precision=PRECISION)
    half = tl.load(half_sq_norms + k, mask=k < K, other=float("inf"))
    scores -= half[None, :]
    GROUPS: tl.constexpr = BLOCK_K // GROUP
    greatest = tl.max(tl.reshape(scores, (BLOCK_N, GROUPS, GROUP)), 2)
    g = tile.to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    tl.store(
        maxima + n[:, None] * G + g[None, :], greatest, mask=(n < N)[:, None] & (g < G)[None, :]
    )


@triton.jit(do_not_specialize=["level"])
def settle(
    residual,  # [N, D] float32, in: before this level, out: after it
    operand,  # [N, D] bfloat16, out, if ROUNDED
    quantized,  # [N, D] float32, in and out
    codes,  # [N, L] int64, out: column `level`
    sq_norms,  # [N, L] float32, out: column `level`
    words,  # [K, D] float32
    half_sq_norms64,  # [K]
    limits,  # [3] float64: max_norm, max_error and relative of score_bound.py
    maxima,  # [N, G] float32
    level,
    K,
    D,
    G,
    L,
    ROUNDED: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The nearest codeword of one token, in real arithmetic, and the step to the next level.
    Groups whose greatest score lies below the threshold are skipped."""
    token = tl.program_id(0).to(tl.int64)
    residual += token * D
    maxima += token * G
    max_norm = tl.load(limits)
    max_error = tl.load(limits + 1)
    relative = tl.load(limits + 2)
    norm, norm_error = norms(residual, D, ROUNDED, BLOCK_D)  # type: ignore[misc]
    bound = bound_from_dot(norm, norm_error, max_norm, max_error, relative, D)
    margin = 2 * bound_in_float64(norm, max_norm, D)

    columns = tl.arange(0, BLOCK_G)
    greatest = tl.full((BLOCK_G,), float("-inf"), tl.float32)
    for start in range(0, G, BLOCK_G):
        g = start + columns
        value = tl.load(maxima + g, mask=g < G, other=float("-inf"))
        greatest = tl.maximum(greatest, value)
    threshold = near_threshold(tl.max(greatest, 0), bound)

    lanes = tl.arange(0, GROUP)
    best = tl.full((), -1, tl.int32)
    best_score = tl.full((), float("-inf"), tl.float64)
    for start in range(0, G, BLOCK_G):
        g = start + columns
        value = tl.load(maxima + g, mask=g < G, other=float("-inf"))
        # Written so that a NaN score is examined.
        near = (g < G) & ((value < threshold) == 0)
        group = tl.min(tl.where(near, g, G), 0)
        while group < G:
            scores = group_scores(
                residual, words, half_sq_norms64, group * GROUP, K, D, GROUP, BLOCK_D
            )
            least = tl.maximum(tl.max(scores, 0), best_score) - margin
            lane = tl.min(tl.where(scores >= least, lanes, GROUP), 0)
            while lane < GROUP:
                score = tl.max(tl.where(lanes == lane, scores, float("-inf")), 0)
                j = group * GROUP + lane
                best, best_score = nearer(residual, words, j, score, best, best_score, margin, D)
                lane = tl.min(tl.where((scores >= least) & (lanes > lane), lanes, GROUP), 0)
            group = tl.min(tl.where(near & (g > group), g, G), 0)

    # A residual that is not finite has no nearest codeword; gpu_tiles.py reports it.
    best = tl.maximum(best, 0).to(tl.int64)
    sq_norm = take_codeword(
        words + best * D,
        residual,
        operand + token * D,
        quantized + token * D,
        level,
        D,
        ROUNDED,
        BLOCK_D,
    )
    tl.store(codes + token * L + level, best)
    tl.store(sq_norms + token * L + level, sq_norm.to(tl.float32))
