"""A part of the codebook, to which quantisation can be restricted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from craft.errors import CraftError

SubsetKind = Literal["random", "stride"]


@dataclass(frozen=True)
class CodebookSubset:
    """A uniform choice of codewords, the same at every level (methods A11).

    Codes keep their numbers, as if all other codewords were infinitely far away, so language models
    and priors of the whole codebook still work.

    Args:
        fraction: share of the codewords, in (0, 1]; at least one remains.
        kind: "random" draws them with ``seed``; "stride" takes them at equal intervals.

    Raises:
        CraftError: the fraction is outside (0, 1], or the kind is unknown.
    """

    fraction: float
    kind: SubsetKind = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise CraftError(f"fraction must be in (0, 1], got {self.fraction}")
        if self.kind not in ("random", "stride"):
            raise CraftError(f"kind must be 'random' or 'stride', got {self.kind!r}")

    def ids(self, size: int) -> Tensor:  # [k] int64, ascending
        """The chosen ones of ``size`` codewords; ascending, so that ties go to the lowest."""
        count = max(1, round(self.fraction * size))
        if self.kind == "stride":
            return torch.arange(count) * size // count
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(size, generator=generator)[:count].sort().values
