"""Exact residual quantisation in the place of VILA-U's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from craft.integrations.vila_u.layout import codebook_of
from craft.quantization import commitment, quantize


class ExactQuantizer:
    """What VILA-U's quantiser computes, with exact codes, and a codebook that never moves.

    VILA-U computes distances in the input's dtype, so in bfloat16 its codes depend on the device
    and the batch. These are the nearest codewords in real arithmetic. They do not depend on
    ``training`` either: VILA-U's codebook follows its inputs whenever it is in training mode.
    """

    def __init__(self, quantizer: Any):
        self.codebook = codebook_of(quantizer)

    def forward(
        self,
        x: Tensor,  # [B, h, w, D]
    ) -> tuple[Tensor, Tensor, Tensor]:  # [B, h, w, D], [], [B, h, w, L] int64
        """Quantised features (straight-through), commitment loss, codes.

        The loss is computed in float32: the mean over levels of the mean of |x - (c_1 + ... +
        c_l)|^2, like VILA-U's, and as there not weighted.

        Raises:
            CraftError: for NaN or infinity in x, with its position.
        """
        found = quantize(x, self.codebook)
        loss = commitment(found.residual_sq_norms, x.shape[-1])
        return found.quantized, loss.to(x.dtype), found.codes
