"""One level's codewords with what the search needs to know about them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from craft_kernels.residual_quantize.arguments import raise_if_not_finite
from craft_kernels.residual_quantize.gram_rows import GramRows

DEFAULT_GRAM_BYTES = 1 << 30


class Codewords:
    def __init__(
        self,
        words: Tensor,  # [K, D] float32, contiguous, finite
        gram_bytes: int,
    ) -> None:
        norms = torch.linalg.vector_norm(words, dim=-1, dtype=torch.float64)
        self.words = words
        self.half_sq_norms64 = norms.square().mul_(0.5)  # [K]
        self.half_sq_norms = self.half_sq_norms64.float()  # [K]
        # Above the true maximum: covers the rounding of the norms, and components that a thread in
        # flush-to-zero mode reads as zero.
        self.max_norm = norms.max().item() * (1 + 1e-6) + words.shape[1] ** 0.5 * 2.0**-126
        self.gram = GramRows(words, gram_bytes)


def codewords_of_levels(
    codebook: Tensor,  # [K, D] or [L, K, D]
    gram_bytes: int = DEFAULT_GRAM_BYTES,
) -> tuple[Codewords, ...]:
    """One entry for a shared codebook, otherwise one per level; ValueError if not finite."""
    words = codebook.float().contiguous()
    levels = [Codewords(level, gram_bytes) for level in words.reshape(-1, *words.shape[-2:])]
    if not all(math.isfinite(level.max_norm) for level in levels):
        raise_if_not_finite("codebook", codebook)
    return tuple(levels)
