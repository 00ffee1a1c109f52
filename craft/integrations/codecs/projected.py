"""Audio codecs that project features into and out of every level: DAC and HiggsAudio's tokenizer.

The projections, the residuals between them and all else are computed by the model, in its dtype.
What a level compares is defined on the projected features as the model rounds them.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from craft.integrations.codecs.replacement import Replacement
from craft.integrations.codecs.residual import average_in_training


class DacReplacement(Replacement):
    """``decode_latents`` of one level: the codeword of the greatest cosine similarity.

    Projected features and codewords are scaled to length one and rounded in the model's dtype, and
    each code is the nearest of these rounded codewords in real arithmetic, the lowest index on
    ties. So the rounding of the lengths is part of the definition.
    """

    method = "decode_latents"
    normalized = True

    def tables(self) -> list[Tensor]:  # 1 of [K, d]
        return [self.quantizer.codebook.weight]

    def shape(self) -> tuple[int, int, int]:
        (size, dim) = self.quantizer.codebook.weight.shape
        return 1, size, dim

    def training_reason(self) -> str | None:
        if not (self.quantizer.training and self.quantizer.codebook.weight.requires_grad):
            return None
        return (
            "it is in training mode and its embedding requires a gradient; call "
            f"{self.path}.eval(), or {self.path}.codebook.requires_grad_(False)"
        )

    def decode_latents(
        self,
        hidden_states: Tensor,  # [B, d, T]
    ) -> tuple[Tensor, Tensor]:  # [B, d, T], [B, T] int64
        self.require_still()
        directions = F.normalize(hidden_states.transpose(1, 2), dim=-1)
        codes = self.codebook.codes(directions, self.tables()).squeeze(-1)
        return self.quantizer.codebook(codes).transpose(1, 2), codes


class HiggsReplacement(Replacement):
    """``quantize`` of one level's codebook: the nearest codeword to the projected features."""

    method = "quantize"

    def tables(self) -> list[Tensor]:  # 1 of [K, d]
        return [self.quantizer.embed]

    def shape(self) -> tuple[int, int, int]:
        (size, dim) = self.quantizer.embed.shape
        return 1, size, dim

    def training_reason(self) -> str | None:
        return average_in_training(self)

    def quantize(
        self,
        hidden_states: Tensor,  # [N, d]
    ) -> Tensor:  # [N] int64
        self.require_still()
        return self.codebook.codes(hidden_states, self.tables()).squeeze(-1)
