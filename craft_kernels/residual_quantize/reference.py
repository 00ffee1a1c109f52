"""The definition in readable torch: float64 scores, and exact sums where float64 cannot decide.

It is slow and as exact as the kernels. The codes are those of real arithmetic, so every
implementation must give the same codes and sums, bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from craft_kernels.residual_quantize.arguments import raise_if_not_finite, raise_not_finite

_SCORE_BYTES = 64 << 20  # memory for float64 scores at any time
_LANES = 16


def residual_quantize(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    codebook: Tensor,  # [K, D] or [L, K, D]
    levels: int,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    """Codes, sums of the codewords and squared norms of the residuals; see craft_kernels.ops."""
    raise_if_not_finite("z", z)
    raise_if_not_finite("codebook", codebook)
    residual = z.reshape(-1, z.shape[-1]).float()  # [N, D]
    quantized = torch.zeros_like(residual)
    codes = residual.new_empty((len(residual), levels), dtype=torch.int64)
    sq_norms = residual.new_empty((len(residual), levels))
    for level in range(levels):
        words = (codebook if codebook.ndim == 2 else codebook[level]).float()  # [K, D]
        codes[:, level] = nearest_codewords(residual, words)
        chosen = words[codes[:, level]]
        residual = residual - chosen
        quantized = chosen if level == 0 else quantized + chosen
        sq_norms[:, level] = sum_of_squares(residual)
        if not torch.isfinite(residual).all():
            raise_not_finite(z)
    return codes, quantized, sq_norms


def nearest_codewords(
    residual: Tensor,  # [N, D] float32
    words: Tensor,  # [K, D] float32
) -> Tensor:  # [N] int64
    """argmin_j |r - c_j|^2 in real arithmetic, with the lowest index on ties."""
    dim = words.shape[1]
    words64 = words.double()
    norms = words64.norm(dim=1)  # [K]
    half_sq_norms = 0.5 * words64.square().sum(dim=1)
    nearest = residual.new_empty(len(residual), dtype=torch.int64)
    step = max(1, _SCORE_BYTES // (8 * len(words)))
    for start in range(0, len(residual), step):
        r = residual[start : start + step].double()
        scores = r @ words64.T - half_sq_norms  # [n, K]; the nearest has the greatest
        # Products of floats are exact in float64; a sum of them, in any order, is off by at most
        # (D + 8) 2^-53 |r| |c|, and the half norm likewise.
        bound = 1.01 * (dim + 8) * 2.0**-53 * norms.max() * (r.norm(dim=1) + norms.max())
        near = scores >= (scores.amax(dim=1) - 2 * bound).unsqueeze(1)
        nearest[start : start + step] = near.int().argmax(dim=1)  # the first
        for row in (near.sum(dim=1) > 1).nonzero().flatten().tolist():
            candidates = near[row].nonzero().flatten()
            nearest[start + row] = _settle(r[row], candidates, words64)
    return nearest


def _settle(
    residual: Tensor,  # [D] float64
    candidates: Tensor,  # [n] int64, ascending
    words: Tensor,  # [K, D] float64
) -> int:
    """The nearest of a few candidates, by the sign of a correctly rounded sum of exact products."""
    best, *others = candidates.tolist()
    for j in others:
        challenger, champion = words[j], words[best]
        if torch.equal(challenger, champion):
            continue
        # |r - champion|^2 - |r - challenger|^2 = 2 <r, challenger> - |challenger|^2 - ...
        terms = torch.cat(
            [
                2 * residual * challenger,
                -challenger.square(),
                -2 * residual * champion,
                champion.square(),
            ]
        )
        if math.fsum(terms.tolist()) > 0:
            best = j
    return best


def sum_of_squares(
    x: Tensor,  # [N, D] float32
) -> Tensor:  # [N] float32
    """|x|^2, added in float64 in the order that every implementation follows.

    Component i is added to lane i % 16, the lanes are folded in halves, and the sum is rounded to
    float32.
    """
    squares = x.double().square()
    lanes = squares.new_zeros(len(x), _LANES)
    for chunk in squares.split(_LANES, dim=1):
        lanes[:, : chunk.shape[1]] += chunk
    while lanes.shape[1] > 1:
        lower, upper = lanes.chunk(2, dim=1)
        lanes = lower + upper
    return lanes[:, 0].float()


def residual_sq_norms_backward(
    z: Tensor,  # [N, D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    codes: Tensor,  # [N, L] int64
    grad_sq_norms: Tensor,  # [N, L] float32
    grad_quantized: Tensor | None,  # [N, D]
) -> Tensor:  # [N, D] float32
    """grad_quantized + sum over l of 2 grad_sq_norms[:, l] r_l, in float32."""
    residual = z.float()
    grad = torch.zeros_like(residual) if grad_quantized is None else grad_quantized.float()
    for level in range(codes.shape[1]):
        words = codebook if codebook.ndim == 2 else codebook[level]
        residual = residual - words[codes[:, level]].float()
        grad = grad + 2 * grad_sq_norms[:, level, None] * residual
    return grad
