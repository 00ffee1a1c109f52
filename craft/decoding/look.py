"""Attention of a prompt's last position, with an estimate of its rounding error."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Standard deviations. Of a large model's million attention weights about one exceeds five.
_DEVIATIONS = 6
#: Unit roundoff of the precision of sums, scores and softmax.
_FLOAT32 = 2.0**-24


class Look(NamedTuple):
    """Attention weights, and the possible rounding error of each.

    Args:
        weights: [..., T] float32, summing to at most 1.
        rounding: of the same shape, not negative; see :func:`weight_rounding`.
    """

    weights: Tensor
    rounding: Tensor


def weight_rounding(
    weights: Tensor,  # [B, heads, T], softmax of the scores
    sizes: Tensor,  # [B, heads, T], root of the sum of squares of the products in each score
    *,
    depth: int,
    width: int,
    unit: float,
) -> Tensor:  # [B, heads, T] float32
    """How far one layer's weights may be from those in exact arithmetic.

    A score is a sum s_i = Σ_j q_j k_ij, already scaled. Let each of its factors have an independent
    relative error of standard deviation σ. Then that of s_i is about σ · sizes_i, where sizes_i² =
    Σ_j (q_j k_ij)². Softmax turns an error δ of the scores into a_i (δ_i - Σ_j a_j δ_j), which is
    at most a_i (|δ_i| + Σ_j a_j |δ_j|).

    For σ: a layer's products and sums are rounded to the model's precision (``unit``) and are
    accumulated in float32 over about ``width`` terms each, whose errors add up like a random walk
    to √width · 2^-24 (Higham and Mary, SIAM J. Sci. Comput. 41, 2019). The errors of ``depth``
    earlier layers remain in the residual stream and add up in the same way, so σ = √(depth + 1)
    (unit + √width · 2^-24). The softmax's own rounding, a sum of T terms, is added to this.

    The result is six such deviations. It is a first-order estimate, not a worst-case bound:
    networks that amplify errors from layer to layer, which trained ones hardly do, can exceed it.
    Therefore readers compute equal prompts only once, so that a prompt has no evidence over itself
    regardless of this estimate.
    """
    error = math.sqrt(depth + 1) * (unit + math.sqrt(width) * _FLOAT32)
    spread = sizes + (weights * sizes).sum(-1, keepdim=True)
    own = math.sqrt(weights.shape[-1]) * _FLOAT32
    return _DEVIATIONS * weights * (error * spread + own)


def unit_roundoff(tensor: Tensor) -> float:
    """Largest relative error of rounding a product once, in the precision of its activations.

    Float32 products are rounded more coarsely, to TF32 or bfloat16, if the user allows torch to.
    """
    if tensor.dtype == torch.float32:
        backends: Any = torch.backends
        backend = backends.cuda if tensor.device.type == "cuda" else backends.mkldnn
        lowered = {"tf32": 2.0**-11, "bf16": 2.0**-8}
        if backend.matmul.fp32_precision in lowered:
            return lowered[backend.matmul.fp32_precision]
    return torch.finfo(tensor.dtype).eps / 2
