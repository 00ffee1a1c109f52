"""Quantising tokens on a GPU tile by tile: what the GPU backends share around their kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from craft_kernels.residual_quantize.finite_checks import check_finite
from craft_kernels.triton_target import capturing

#: Takes a tile's residuals [T, D], which it updates, and writes its quantized [T, D], codes [T, L]
#: and sq_norms [T, L].
QuantizeTile = Callable[[Tensor, Tensor, Tensor, Tensor], None]

_TILE_BYTES = 256 << 20  # memory for the scores, or group maxima, of one tile


def quantize_in_tiles(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    levels: int,
    scores_of_token: int,  # how many float32 scores a tile holds per token
    quantize_tile: QuantizeTile,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    tokens = z.reshape(-1, z.shape[-1])
    residual = z.new_empty(tokens.shape, dtype=torch.float32).copy_(tokens)
    quantized = torch.empty_like(residual)
    codes = z.new_empty((len(tokens), levels), dtype=torch.int64)
    sq_norms = z.new_empty((len(tokens), levels), dtype=torch.float32)
    step = max(1, _TILE_BYTES // (4 * scores_of_token) if scores_of_token else len(tokens))
    for start in range(0, len(tokens), step):
        rows = slice(start, start + step)
        quantize_tile(residual[rows], quantized[rows], codes[rows], sq_norms[rows])
    # A graph that is being captured cannot wait for the GPU: it returns NaN norms for tokens that
    # are not finite.
    if not capturing(z):
        check_finite(z, residual)
    return codes, quantized, sq_norms
