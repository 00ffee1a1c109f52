"""Image tokenizers of one level: Chameleon, Emu3, Janus, GLM-Image."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from craft.integrations.codecs.replacement import Replacement
from craft_kernels.live_codebook import LiveCodebook


class TableReplacement(Replacement):
    """``forward`` of a quantiser whose codewords are the rows of an embedding.

    The features are taken as float32, exactly, whatever the model's dtype, and so are the codewords
    as the model holds them. Each code is the nearest codeword in real arithmetic, the lowest index
    on ties. All else is computed as the model does, in its dtype.
    """

    method = "forward"
    normalized: ClassVar[bool] = False

    def __init__(self, quantizer: nn.Module, path: str) -> None:
        super().__init__(quantizer, path)
        self.codebook = LiveCodebook(normalized=self.normalized)

    def tables(self) -> list[Tensor]:  # 1 of [K, D]
        return [self.quantizer.embedding.weight]

    def shape(self) -> tuple[int, int, int]:
        (size, dim) = self.quantizer.embedding.weight.shape
        return 1, size, dim

    def training_reason(self) -> str | None:
        if not (self.quantizer.training and self.quantizer.embedding.weight.requires_grad):
            return None
        return (
            "it is in training mode and its embedding requires a gradient; call "
            f"{self.path}.eval(), or {self.path}.requires_grad_(False) to train the encoder alone"
        )

    def codes(
        self,
        features: Tensor,  # [..., D]
    ) -> Tensor:  # [...] int64
        self.require_still()
        return self.codebook.codes(features, self.tables()).squeeze(-1)


class Emu3Replacement(TableReplacement):
    def forward(
        self,
        hidden_state: Tensor,  # [B, T, D, h, w]
    ) -> Tensor:  # [B, T, h, w] int64
        return self.codes(hidden_state.movedim(2, -1).contiguous())


class VqVaeReplacement(TableReplacement):
    """Chameleon and Janus: codewords straight through, and a loss that draws both together."""

    def forward(
        self,
        hidden_state: Tensor,  # [B, D, h, w]
    ) -> tuple[Tensor, Tensor, Tensor]:  # [B, D, h, w], [], [B h w] int64
        features = self.prepared(hidden_state.movedim(1, -1).contiguous())
        codes = self.codes(features)
        words = self.prepared(self.quantizer.embedding(codes))
        commitment = (words.detach() - features).square().mean()
        following = (words - features.detach()).square().mean()
        straight_through = features + (words - features).detach()
        quantized = straight_through.movedim(-1, 1).contiguous()
        return quantized, commitment + self.quantizer.beta * following, codes.flatten()

    def prepared(self, x: Tensor) -> Tensor:  # [..., D]
        """What is compared: features and codewords as they are."""
        return x


class CosineVqVaeReplacement(VqVaeReplacement):
    """GLM-Image: features and codewords are scaled to length one in the model's dtype first.

    Those rounded vectors are what the nearest codeword is defined on. So for codewords of exactly
    length one this is the greatest cosine similarity; the rounding of the lengths is part of the
    model, which decodes with the rounded codewords.
    """

    normalized = True

    def prepared(self, x: Tensor) -> Tensor:  # [..., D]
        return F.normalize(x, dim=-1)
