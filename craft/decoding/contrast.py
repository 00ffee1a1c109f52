"""VAT: two streams, one without the evidence, decide each token together."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LogitsProcessor

from craft.errors import CraftError


class ContrastStreams(LogitsProcessor):
    """Give both halves of a batch the scores z+ + alpha (z+ - z-), so they append the same token.

    Follows LASER's Eqs. 7, 10 and 11 as third parties restate them. The first half of the batch
    sees the evidence, the second does not. With alpha = 0 only the first half counts.

    Args:
        alpha: weight of the evidence's contribution.
        plausibility_beta: tokens below this share of the most likely one's probability in z+ are
            excluded (VCD's constraint, not reported for LASER).
    """

    def __init__(self, alpha: float = 1.0, plausibility_beta: float | None = None):
        self.alpha = alpha
        self.plausibility_beta = plausibility_beta

    def __call__(
        self,
        input_ids: Tensor,  # [2B, T]
        scores: Tensor,  # [2B, V]
    ) -> Tensor:  # [2B, V] float32
        """Combine the streams. Raises CraftError if the batch size is odd."""
        if len(scores) % 2:
            raise CraftError(f"two streams need an even batch size, got {len(scores)}")
        positive, negative = scores.float().chunk(2)
        combined = positive + self.alpha * (positive - negative)
        # Tokens that generation rules out are -inf in both streams, and -inf minus -inf is NaN.
        barred = positive == -torch.inf
        if self.plausibility_beta is not None:
            least = positive.amax(-1, keepdim=True) + math.log(self.plausibility_beta)
            barred = barred | (positive < least)
        combined = combined.masked_fill(barred, -torch.inf)
        return torch.cat([combined, combined])
