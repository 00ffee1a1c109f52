"""Squared lengths whose bits do not depend on how a processor sums."""

from __future__ import annotations

from torch import Tensor

from craft.fitting.exact_sums import Grid

#: Numbers that are worked on together, so that they stay in a processor's cache.
_TOGETHER = 2**17


def squared_lengths(
    vectors: Tensor,  # [n, D] float32
    grid: Grid,
) -> Tensor:  # [n] float64
    """|v|^2 of each row: the square of a float32 is exact in float64, its sum on ``grid`` too.

    Args:
        grid: holding D squares of the largest component.
    """
    return grid.round(vectors.double().square_()).sum(1)


def blocks_of(vectors: Tensor) -> int:
    """How many rows [.., D] to work on together."""
    return max(1, _TOGETHER // vectors.shape[1])
