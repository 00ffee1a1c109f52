"""E_θ with its frozen codebook: pixels in, residual codes out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SiglipVisionModel

from craft.codebook import Codebook
from craft.quantize import quantize
from craft_kernels import ResidualCodes


class DiscreteVisionTower(nn.Module):
    """A SigLIP vision encoder read at one of its blocks, and the codebook of its features.

    Only what the read-out depends on is kept: patch and position embeddings and the blocks up to
    ``read_layer``; no post-norm, no pooling head.

    Args:
        vision: transformers' SigLIP vision model.
        codebook: frozen, of the encoder's width.
        read_layer: block whose output is quantised, counted from the end as in hidden states
            (-2 = the penultimate block).

    Raises:
        ValueError: the codebook's dimension is not the encoder's width, or no such block.
    """

    def __init__(self, vision: SiglipVisionModel, codebook: Codebook, read_layer: int = -2):
        super().__init__()
        config: Any = vision.config  # whose types allow for oblong images
        if codebook.dim != config.hidden_size:
            raise ValueError(
                f"codebook has dimension {codebook.dim}, the encoder's width is "
                f"{config.hidden_size}: they were not trained together"
            )
        depth = len(vision.encoder.layers) + read_layer + 1
        if read_layer >= 0 or depth < 1:
            raise ValueError(
                f"read_layer must be in [-{len(vision.encoder.layers)}, -1], got {read_layer}"
            )
        self.config = config
        self.image_size = int(config.image_size)
        self.read_layer = read_layer
        self.codebook = codebook
        self.embeddings = vision.embeddings
        self.blocks = nn.ModuleList(list(vision.encoder.layers)[:depth])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // int(self.config.patch_size)
        return side, side

    def features(
        self,
        pixels: Tensor,  # [B, 3, S, S] in [-1, 1]
        class_token: Tensor | None = None,  # [D]
    ) -> tuple[Tensor, Tensor | None]:
        """Features z [B, N, D] before quantisation and, given a class token, its output [B, D].

        The class token reads the patches and no patch reads it (methods A6), so z is the same, bit
        for bit, with and without one.
        """
        hidden = self.embeddings(pixels)
        reader = None if class_token is None else class_token.expand(len(hidden), 1, -1)
        for block in self.blocks:
            if reader is not None:
                reader = _read(block, reader, hidden)
            hidden = block(hidden, None)
        return hidden, None if reader is None else reader[:, 0]

    def forward(self, pixels: Tensor) -> ResidualCodes:
        """Quantise images [B, 3, S, S] in [-1, 1]; gradients pass straight through."""
        z, _ = self.features(pixels)
        return quantize(z, self.codebook)

    @torch.inference_mode()
    def encode(self, images: Tensor, batch: int = 64) -> ResidualCodes:
        """Codes of images [n, 3, S, S] in [0, 1], batch by batch, without gradients."""
        parts = [self(chunk * 2 - 1) for chunk in images.split(batch)]
        return ResidualCodes(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _read(block: Any, reader: Tensor, patches: Tensor) -> Tensor:  # [B, 1, D]
    """One SigLIP encoder block for the class token alone, which attends to all positions."""
    attention = block.self_attn
    both = block.layer_norm1(torch.cat([reader, patches], 1))

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)

    seen = F.scaled_dot_product_attention(
        heads(attention.q_proj(both[:, :1])),
        heads(attention.k_proj(both)),
        heads(attention.v_proj(both)),
        scale=attention.scale,
    )
    reader = reader + attention.out_proj(seen.transpose(1, 2).flatten(2))
    return reader + block.mlp(block.layer_norm2(reader))
