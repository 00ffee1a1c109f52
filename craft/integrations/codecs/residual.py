"""Audio codecs whose levels have a codebook each: Mimi, EnCodec, X-Codec."""

from __future__ import annotations

from torch import Tensor, nn

from craft.integrations.codecs.replacement import Replacement
from craft_kernels.live_codebook import LiveCodebook


def average_in_training(replacement: Replacement) -> str | None:
    """For codewords that are running averages: why they are about to move."""
    if not replacement.quantizer.training:
        return None
    return (
        "it is in training mode, where the running averages it is made of follow the features; "
        f"call {replacement.path}.eval() before encoding"
    )


class ResidualReplacement(Replacement):
    """``encode`` of a residual quantiser: [B, D, T] features to [levels, B, T] codes.

    The features are taken as float32, exactly, whatever the model's dtype, and so are the codewords
    as the model holds them. With r_0 the features and r_l = r_{l-1} - c_{k_l} rounded to float32,
    each code is the nearest codeword to r_{l-1} in real arithmetic, the lowest index on ties.
    """

    method = "encode"
    layers = "layers"  # where the quantiser has its levels
    stored = "embed"  # the buffer of a level's codebook that codewords come from

    def __init__(self, quantizer: nn.Module, path: str) -> None:
        super().__init__(quantizer, path)
        self.codebook = LiveCodebook()

    def tables(self) -> list[Tensor]:  # L of [K, D]
        """The codewords of every level, as the model decodes with them."""
        return [level.codebook.embed for level in getattr(self.quantizer, self.layers)]

    def shape(self) -> tuple[int, int, int]:
        levels = getattr(self.quantizer, self.layers)
        (size, dim) = getattr(levels[0].codebook, self.stored).shape
        return len(levels), size, dim

    def training_reason(self) -> str | None:
        return average_in_training(self)

    def codes(
        self,
        features: Tensor,  # [B, D, T]
        levels: int | None,
    ) -> Tensor:  # [levels, B, T] int64
        self.require_still()
        tables = self.tables()
        # As a slice of the layers does: more than there are means all.
        levels = len(tables) if levels is None else min(levels, len(tables))
        found = self.codebook.codes(features.transpose(1, 2), tables, levels)
        return found.permute(2, 0, 1).contiguous()


class MimiReplacement(ResidualReplacement):
    """One of Mimi's two groups, semantic or acoustic, with its input projection ahead."""

    stored = "embed_sum"  # its codewords are made of that when they are first asked for

    def encode(self, embeddings: Tensor, num_quantizers: int | None = None) -> Tensor:
        projection = self.quantizer.input_proj
        features = embeddings if projection is None else projection(embeddings)
        return self.codes(features, num_quantizers)


class EncodecReplacement(ResidualReplacement):
    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        levels = self.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
        return self.codes(embeddings, levels)


class XcodecReplacement(EncodecReplacement):
    layers = "quantizers"
