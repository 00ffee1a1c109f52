"""Record the intermediate results of VILA-U's encoder, which it discards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from craft.integrations.vila_u.layout import codewords


@dataclass(frozen=True)
class Encoding:
    """One call of the quantiser, with gradients if the call had them."""

    features: Tensor  # [B, h, w, D]: before quantisation
    quantized: Tensor  # [B, h, w, D]: straight-through
    codes: Tensor  # [B, h, w, L] int64
    tables: tuple[Tensor, ...]  # L codebooks [K, D], views of the model's

    @property
    def commitment(self) -> Tensor:  # [] float32
        """Mean over levels of the mean of |x - (c_1 + ... + c_l)|^2; gradients reach only x.

        VILA-U computes this in the dtype of the features and discards it.
        """
        x = self.features.float()
        sums = torch.zeros_like(x)
        losses = []
        for level, table in enumerate(self.tables):
            sums = sums + F.embedding(self.codes[..., level], table).float()
            losses.append((x - sums).square().mean())
        return torch.stack(losses).mean()

    @property
    def residual_sq(self) -> Tensor:  # [B, N] float32, detached
        """|x - c_1|^2 of every patch in raster order, summed in float64; a cue for pruning."""
        words = F.embedding(self.codes[..., 0], self.tables[0]).float()
        residual = self.features.detach().float() - words
        return residual.double().square().sum(-1).float().flatten(1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.codes.shape[1:3]
        return rows, columns


@contextmanager
def recorded(quantizer: Any) -> Iterator[list[Encoding]]:
    """Collect every call of the quantiser inside a block, by a temporary hook."""
    calls: list[Encoding] = []

    def record(_: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        quantized, _, codes = output
        calls.append(Encoding(inputs[0], quantized, codes, tuple(codewords(quantizer))))

    hook = quantizer.register_forward_hook(record)
    try:
        yield calls
    finally:
        hook.remove()
