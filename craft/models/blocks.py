"""The encoder's blocks, with an optional class token that reads the patches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer


class ReadableBlock(SiglipEncoderLayer):
    """A SigLIP encoder block; an optional class token attends to its patches, unseen by them.

    Both are computed in one forward pass, so that activation recomputation and the gathering of
    sharded weights cover both.
    """

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,  # [B, N, D]
        attention_mask: Tensor | None = None,
        class_token: Tensor | None = None,  # [B, 1, D]
        **kwargs: Any,
    ) -> Any:
        """The block's output [B, N, D] and, if there is a class token, its output [B, 1, D]."""
        read = None if class_token is None else self._read(class_token, hidden_states)
        mask: Any = attention_mask
        out = super().forward(hidden_states, mask, **kwargs)
        return out if read is None else (out, read)

    def _read(self, class_token: Tensor, patches: Tensor) -> Tensor:  # [B, 1, D]
        """Apply the block to the class token alone, which attends to all positions."""
        attention: Any = self.self_attn
        both = self.layer_norm1(torch.cat([class_token, patches], 1))

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)

        seen = F.scaled_dot_product_attention(
            heads(attention.q_proj(both[:, :1])),
            heads(attention.k_proj(both)),
            heads(attention.v_proj(both)),
            scale=attention.scale,
        )
        class_token = class_token + attention.out_proj(seen.transpose(1, 2).flatten(2))
        return class_token + self.mlp(self.layer_norm2(class_token))


class BlockStack(nn.ModuleList):
    """A list of :class:`ReadableBlock` that can be called as a whole."""

    def forward(
        self,
        hidden: Tensor,  # [B, N, D]
        class_token: Tensor | None = None,  # [B, 1, D]
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs of the last block: of the patches and, if there is one, of the class token."""
        for block in self:
            if class_token is None:
                hidden = block(hidden, None)
            else:
                hidden, class_token = block(hidden, None, class_token)
        return hidden, class_token
