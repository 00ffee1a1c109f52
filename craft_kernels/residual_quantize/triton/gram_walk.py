"""The path for a shared codebook: one product z C^T for all levels.

Then one program per token keeps its row of scores on chip and goes through the levels, subtracting
a row of the Gram matrix C C^T after each.
"""

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
    bound_from_gram,
    bound_in_float64,
    near_threshold,
)


@triton.jit
def gram_walk(
    residual,  # [N, D] float32, in: z, out: after the last level
    quantized,  # [N, D] float32, out
    codes,  # [N, L] int64, out
    sq_norms,  # [N, L] float32, out
    words,  # [K, D] float32
    half_sq_norms,  # [K] float32
    half_sq_norms64,  # [K]
    gram,  # [K, K] float32
    limits,  # [3] float64: max_norm, max_error, relative of score_bound.py
    products,  # [N, K] float32: <z_n, c_j>
    K,
    D,
    L,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Every codeword whose score reaches the threshold is scored in float64. Usually there is only
    one, and no further score is needed."""
    token = tl.program_id(0).to(tl.int64)
    residual += token * D
    quantized += token * D
    max_norm = tl.load(limits)
    relative = tl.load(limits + 2)
    columns = tl.arange(0, BLOCK_K)
    inside = columns < K
    scores = tl.load(products + token * K + columns, mask=inside, other=float("-inf"))
    scores -= tl.load(half_sq_norms + columns, mask=inside, other=0.0)
    bound = tl.full((), 0.0, tl.float64)
    for level in range(L):
        norm, _ = norms(residual, D, False, BLOCK_D)  # type: ignore[misc]
        if level == 0:
            bound = bound_from_dot(norm, 0.0, max_norm, 0.0, relative, D)
        else:
            bound = bound_from_gram(bound, norm, max_norm, relative, D)
        margin = 2 * bound_in_float64(norm, max_norm, D)
        threshold = near_threshold(tl.max(scores, 0), bound)
        # Written so that a NaN score is examined. Columns from K on are -inf; the search below
        # stops at K, in case even those are near.
        near = (scores < threshold) == 0
        best = tl.full((), -1, tl.int32)
        best_score = tl.full((), float("-inf"), tl.float64)
        j = tl.min(tl.where(near, columns, BLOCK_K), 0)
        last = tl.max(tl.where(near, columns, -1), 0)
        if j == last:
            best = j
        else:
            while j < K:
                score = tl.max(
                    group_scores(residual, words, half_sq_norms64, j, j + 1, D, 1, BLOCK_D), 0
                )
                best, best_score = nearer(residual, words, j, score, best, best_score, margin, D)
                j = tl.min(tl.where(near & (columns > j), columns, BLOCK_K), 0)
        # A residual that is not finite has no nearest codeword; gpu_tiles.py reports it.
        code = tl.maximum(best, 0).to(tl.int64)
        sq_norm = take_codeword(
            words + code * D, residual, residual, quantized, level, D, False, BLOCK_D
        )
        tl.store(codes + token * L + level, code)
        tl.store(sq_norms + token * L + level, sq_norm.to(tl.float32))
        if level + 1 < L:
            scores -= tl.load(gram + code * K + columns, mask=inside, other=0.0)
