"""Given features in place of an encoder's visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FixedTokens:
    """The rows of a tensor [n, M, D], in windows of ``together`` images."""

    features: Tensor
    together: int | None = None

    @property
    def length(self) -> int:
        return self.features.shape[1]

    @property
    def windows(self) -> Sequence[range]:
        count = len(self.features)
        size = self.together or max(count, 1)
        return [range(i, min(i + size, count)) for i in range(0, count, size)]

    def show(self, images: Sequence[int]) -> Tensor:
        return self.features[list(images)]
