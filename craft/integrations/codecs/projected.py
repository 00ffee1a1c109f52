"""Audio codecs that project features into and out of every level: DAC, HiggsAudio's tokenizer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from craft.integrations.codecs.replacement import Replacement
from craft.integrations.codecs.residual import average_in_training
from craft_kernels.projected_codes import Level, LiveProjections

DacOutputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class DacReplacement(Replacement):
    """``forward`` of DAC's residual quantiser.

    The features are taken exactly, and so are the projections' weights and the codewords. With r
    the features less all that earlier levels take off, in real arithmetic with nothing rounded,
    each code is the codeword of the greatest cosine similarity to the projected r, the lowest index
    on ties; of codewords scaled to length one, rounded in the model's dtype.

    Where no gradient is asked for, everything else is made from the codes and the projected
    features, in two products for all levels: equal to the model's own but for rounding. Otherwise
    it is computed level by level as the model does.
    """

    method = "forward"

    def __init__(self, quantizer: Any, path: str) -> None:
        super().__init__(quantizer, path)
        self.projections = LiveProjections(cosine=True)

    def levels(self) -> list[Level]:
        return [
            Level(
                level.in_proj.weight.squeeze(-1),
                level.in_proj.bias,
                level.out_proj.weight.squeeze(-1),
                level.out_proj.bias,
                level.codebook.weight,
            )
            for level in self.quantizer.quantizers
        ]

    def shape(self) -> tuple[int, int, int]:
        levels = self.quantizer.quantizers
        (size, dim) = levels[0].codebook.weight.shape
        return len(levels), size, dim

    def training_reason(self) -> str | None:
        levels = self.quantizer.quantizers
        learning = any(level.codebook.weight.requires_grad for level in levels)
        if not (self.quantizer.training and learning):
            return None
        return (
            "it is in training mode and its embeddings require a gradient; call "
            f"{self.path}.eval(), or requires_grad_(False) on the codebook of each of "
            f"{self.path}.quantizers"
        )

    def forward(
        self,
        hidden_state: Tensor,  # [B, D, T]
        n_quantizers: int | None = None,
    ) -> DacOutputs:
        """Quantised features [B, D, T], codes [B, levels, T], projected features [B, levels d, T],
        commitment loss and codebook loss [B], as the model's own."""
        self.require_still()
        levels = self.levels()
        if not self.quantizer.training and n_quantizers is not None:
            levels = levels[: max(n_quantizers, 1)]
        codes, seen = self.projections.codes(hidden_state.transpose(1, 2), levels)
        tensors = [hidden_state, *(tensor for level in levels for tensor in level)]
        if self.quantizer.training or (
            torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        ):
            return self._level_by_level(hidden_state, codes)
        return _at_once(hidden_state, levels, codes, seen)

    def _level_by_level(
        self,
        hidden_state: Tensor,  # [B, D, T]
        codes: Tensor,  # [B, T, levels]
    ) -> DacOutputs:
        used = self._used(hidden_state)
        residual, quantized = hidden_state, torch.zeros_like(hidden_state)
        commitment = following = hidden_state.new_zeros(len(hidden_state))
        seen = []
        for depth, level in enumerate(self.quantizer.quantizers[: codes.shape[-1]]):
            now = level.in_proj(residual)
            words = level.codebook(codes[..., depth]).transpose(1, 2)
            taken = level.out_proj(now + (words - now).detach())
            mask = depth < used
            quantized = quantized + taken * mask[:, None, None]
            residual = residual - taken
            commitment = commitment + F.mse_loss(now, words.detach()) * mask
            following = following + F.mse_loss(words, now.detach()) * mask
            seen.append(now)
        return quantized, codes.transpose(1, 2), torch.cat(seen, 1), commitment, following

    def _used(self, hidden_state: Tensor) -> Tensor:  # [B]
        """How many levels count for each sample: in training some samples drop levels."""
        batch, depth = len(hidden_state), self.quantizer.n_codebooks
        used = torch.full((batch,), depth + 1.0)
        if self.quantizer.training:
            drawn = torch.randint(1, depth + 1, (batch,))
            dropping = int(batch * self.quantizer.quantizer_dropout)
            used[:dropping] = drawn[:dropping].to(used.dtype)
        return used.to(hidden_state.device)


def _at_once(
    hidden_state: Tensor,  # [B, D, T]
    levels: list[Level],
    codes: Tensor,  # [B, T, levels] int64
    seen: Tensor,  # [B, T, levels, d] float32
) -> DacOutputs:
    words = torch.stack(
        [F.embedding(codes[..., depth], level.words) for depth, level in enumerate(levels)], -2
    )  # [B, T, levels, d]
    out = torch.cat([level.out for level in levels], 1)  # [D, levels d]
    bias = torch.stack([level.out_bias for level in levels]).sum(0)
    quantized = F.linear(words.flatten(2), out, bias).transpose(1, 2)
    seen = seen.to(hidden_state.dtype)
    loss = (seen - words).square().mean((0, 1, 3)).sum().expand(len(hidden_state))
    latents = seen.flatten(2).transpose(1, 2)
    return quantized, codes.transpose(1, 2), latents, loss, loss


class HiggsReplacement(Replacement):
    """``encode`` of HiggsAudio's residual quantiser: [B, D, T] features to [levels, B, T] codes.

    The features are taken exactly, and so are the projections' weights and the codewords. With r
    the features less all that earlier levels take off, in real arithmetic with nothing rounded,
    each code is the nearest codeword to the projected r, the lowest index on ties.
    """

    method = "encode"

    def __init__(self, quantizer: Any, path: str) -> None:
        super().__init__(quantizer, path)
        self.projections = LiveProjections()

    def shape(self) -> tuple[int, int, int]:
        levels = self.quantizer.quantizers
        (size, dim) = levels[0].codebook.embed.shape
        return len(levels), size, dim

    def training_reason(self) -> str | None:
        return average_in_training(self)

    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        self.require_still()
        count = self.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
        levels = [
            Level(
                level.project_in.weight,
                level.project_in.bias,
                level.project_out.weight,
                level.project_out.bias,
                level.codebook.embed,
            )
            for level in self.quantizer.quantizers[:count]
        ]
        codes = self.projections.codes(embeddings.transpose(1, 2), levels).codes
        return codes.permute(2, 0, 1).contiguous()
