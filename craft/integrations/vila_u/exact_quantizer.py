"""Exact residual quantisation in place of VILA-U's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from craft.integrations.vila_u.layout import codebook_of
from craft.quantization import commitment, quantize


class ExactQuantizer:
    """Computes what VILA-U's quantiser does, with exact codes and a constant codebook.

    VILA-U computes distances in the input's dtype, so in bfloat16 its codes depend on the device
    and the batch. The codes here are the nearest codewords in real arithmetic. They do not depend
    on ``training`` either: in training mode VILA-U updates its codebook from its inputs.
    """

    def __init__(self, quantizer: Any):
        self.codebook = codebook_of(quantizer)

    def forward(
        self,
        x: Tensor,  # [B, h, w, D]
    ) -> tuple[Tensor, Tensor, Tensor]:  # [B, h, w, D], [], [B, h, w, L] int64
        """Quantised features (straight-through), commitment loss, codes.

        Like VILA-U's, the loss is the unweighted mean over levels of the mean of |x - (c_1 + ... +
        c_l)|^2; it is computed in float32.

        Raises:
            CraftError: NaN or infinity in x; names its position.
        """
        found = quantize(x, self.codebook)
        loss = commitment(found.residual_sq_norms, x.shape[-1])
        return found.quantized, loss.to(x.dtype), found.codes
