"""What the kernels share once fast arithmetic has proposed codewords: the exact choice among them
and the step to the next level. All pointers here are to one token's row."""

import triton
import triton.language as tl

from craft_kernels.residual_quantize.triton.exact_sign import distance_sign

_LANES = tl.constexpr(16)


@triton.jit
def group_scores(
    residual,  # [D] float32
    words,  # [K, D] float32
    half_sq_norms64,  # [K]
    first,
    K,
    D,
    GROUP: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # [GROUP] float64
    """<r, c_j> - |c_j|^2 / 2 of codewords first, first + 1, ...; -inf beyond the last."""
    j = first + tl.arange(0, GROUP)
    rows = words + j.to(tl.int64)[:, None] * D
    total = tl.zeros((GROUP, BLOCK_D), tl.float64)
    for start in range(0, D, BLOCK_D):
        at = start + tl.arange(0, BLOCK_D)
        r = tl.load(residual + at, mask=at < D, other=0.0).to(tl.float64)
        c = tl.load(rows + at[None, :], mask=(j < K)[:, None] & (at < D)[None, :], other=0.0)
        total += r[None, :] * c.to(tl.float64)
    return tl.sum(total, 1) - tl.load(half_sq_norms64 + j, mask=j < K, other=float("inf"))


@triton.jit
def nearer(
    residual,  # [D] float32
    words,  # [K, D] float32
    j,
    score,
    best,  # int32, -1 before the first
    best_score,
    margin,
    D,
):
    """The nearer of codewords j and best, the lower index on a tie, with its float64 score.

    float64 decides where scores lie further apart than their bounds allow, exact arithmetic
    otherwise, so the outcome does not depend on the order of comparisons.
    """
    lead = score - best_score
    wins = lead > margin
    if (best >= 0) & (lead >= -margin) & (lead <= margin):
        champion = words + best.to(tl.int64) * D
        challenger = words + j.to(tl.int64) * D
        sign = distance_sign(residual, champion, challenger, D)
        wins = (sign > 0) | ((sign == 0) & (j < best))
    return tl.where(wins, j, best), tl.where(wins, score, best_score)


@triton.jit
def norms(
    residual,  # [D] float32
    D,
    ROUNDED: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """|r|, and |r - bfloat16(r)| if ROUNDED, else 0; in float64."""
    total = tl.zeros((BLOCK_D,), tl.float64)
    error = tl.zeros((BLOCK_D,), tl.float64)
    for start in range(0, D, BLOCK_D):
        at = start + tl.arange(0, BLOCK_D)
        r = tl.load(residual + at, mask=at < D, other=0.0)
        wide = r.to(tl.float64)
        total += wide * wide
        if ROUNDED:
            lost = wide - r.to(tl.bfloat16).to(tl.float32).to(tl.float64)
            error += lost * lost
    return tl.sqrt(tl.sum(total, 0)), tl.sqrt(tl.sum(error, 0))


@triton.jit
def sum_of_squares(
    x,  # [D] float32
    D,
):  # float64
    """|x|^2 in the order that every implementation follows: component i is added to lane i % 16,
    and the lanes are folded in halves."""
    lanes = tl.arange(0, _LANES)
    total = tl.zeros((_LANES,), tl.float64)
    for start in tl.range(0, D, _LANES, loop_unroll_factor=8):
        value = tl.load(x + start + lanes, mask=start + lanes < D, other=0.0).to(tl.float64)
        total += value * value
    lower, upper = tl.split(tl.trans(tl.reshape(total, (2, 8))))
    lower, upper = tl.split(tl.trans(tl.reshape(lower + upper, (2, 4))))
    lower, upper = tl.split(tl.trans(tl.reshape(lower + upper, (2, 2))))
    return tl.sum(lower + upper, 0)


@triton.jit
def take_codeword(
    word,  # [D] float32
    residual,  # [D] float32, in and out
    operand,  # [D] bfloat16, out, if ROUNDED
    quantized,  # [D] float32, in and out; uninitialised at level 0
    level,
    D,
    ROUNDED: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # float64
    """residual -= word and quantized += word, each rounded to float32; |residual|^2 afterwards."""
    for start in range(0, D, BLOCK_D):
        at = start + tl.arange(0, BLOCK_D)
        c = tl.load(word + at, mask=at < D, other=0.0)
        r = tl.load(residual + at, mask=at < D, other=0.0) - c
        tl.store(residual + at, r, mask=at < D)
        if ROUNDED:
            tl.store(operand + at, r.to(tl.bfloat16), mask=at < D)
        total = tl.load(quantized + at, mask=(at < D) & (level > 0), other=0.0)
        tl.store(quantized + at, tl.where(level > 0, total + c, c), mask=at < D)
    tl.debug_barrier()  # other threads of the program read these components next
    return sum_of_squares(residual, D)
