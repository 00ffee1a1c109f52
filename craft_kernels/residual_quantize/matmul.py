"""Float32 products with the accuracy that the rounding bound (csrc/score_bound.h) assumes."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOAT64_ROWS = 2048  # of b converted at a time


def matmul_transposed(
    a: Tensor,  # [M, D] float32
    b: Tensor,  # [K, D] float32
    out: Tensor,  # [M, K] float32
) -> Tensor:
    """out = a @ b.T, each entry a float32 dot product, in whatever order of summation.

    torch.set_float32_matmul_precision("medium") and its like make torch.mm round float32 operands
    to bfloat16 on CPUs with AMX; the product is then taken in float64. Autocast does not touch the
    out= form.
    """
    if torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee"):  # type: ignore[attr-defined]
        return torch.mm(a, b.t(), out=out)
    wide = a.double()
    for start in range(0, b.shape[0], _FLOAT64_ROWS):
        rows = slice(start, start + _FLOAT64_ROWS)
        out[:, rows] = wide @ b[rows].double().t()
    return out
