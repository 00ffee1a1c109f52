"""The projector g_φ from visual features to the language model's embedding space."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Sequential):
    """Two linear layers with a GELU between them, as in VILA-U.

    Args:
        width: feature dimension D of the codebook.
        hidden: embedding width H of the language model.
        inner: width between the two layers; by default H, as in VILA-U.
    """

    def __init__(self, width: int, hidden: int, inner: int | None = None):
        inner = inner or hidden
        super().__init__(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, hidden))
        self.width = width
        self.hidden = hidden
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:  # [..., D] -> [..., H]
        return super().forward(input)
