"""The codewords that k-means starts from, drawn from the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from craft.fitting.exact_sums import FixedPoint

Start = Literal["subset", "kmeans++"]
#: Rows that k-means++ draws from, for each codeword: its time grows with their number times size.
ROWS_A_CODEWORD = 4


def sample(
    rows: int,
    count: int,
    generator: torch.Generator,
) -> Tensor:  # [min(count, rows)] int64, ascending
    """Numbers of distinct rows."""
    return torch.randperm(rows, generator=generator)[:count].sort().values


def starting_codewords(
    start: Start,
    size: int,
    rows: int,
    gather: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:  # [size, D] float32
    """``size`` of the rows.

    Args:
        start: "subset" draws distinct rows; "kmeans++" draws each with a probability that grows
            with the squared distance to those already drawn (Arthur and Vassilvitskii, 2007), from
            a sample of ``4 * size`` rows; for thousands of codewords that takes minutes.
        rows: their number, at least ``size``.
        gather: rows by number, float32 on the device that is to be used.
        generator: on the CPU.
    """
    if start == "subset":
        return gather(sample(rows, size, generator))
    points = gather(sample(rows, ROWS_A_CODEWORD * size, generator))
    return points[_spread(points, size, generator)]


def _spread(points: Tensor, size: int, generator: torch.Generator) -> Tensor:  # [size] int64
    n, dim = points.shape
    bound = dim * (2 * float(points.abs().max())) ** 2
    fixed = FixedPoint.holding(bound, n)
    chosen = torch.empty(size, dtype=torch.int64)
    chosen[0] = torch.randint(n, (1,), generator=generator)
    nearest = torch.full((n,), torch.iinfo(torch.int64).max, device=points.device)
    for i in range(1, size):
        distances = _squared_distances(points, points[chosen[i - 1]], fixed)
        nearest = torch.minimum(nearest, distances)
        reached = nearest.cumsum(0)
        total = int(reached[-1])
        if total == 0:  # every row equals one already drawn: any of the others will do
            left = torch.ones(n, dtype=torch.bool)
            left[chosen[:i]] = False
            chosen[i:] = left.nonzero()[: size - i, 0]
            break
        drawn = torch.randint(total, (1,), generator=generator).to(points.device)
        chosen[i] = torch.searchsorted(reached, drawn, right=True).cpu()
    return chosen


def _squared_distances(
    points: Tensor,  # [n, D] float32
    center: Tensor,  # [D]
    fixed: FixedPoint,
) -> Tensor:  # [n] int64
    # Component by component in float64, where the square of a float32 is exact, and added as
    # integers: which row is drawn must not depend on how a processor sums.
    parts = [
        fixed.of((part - center).double().square()).sum(1)
        for part in points.split(_rows_of(points))
    ]
    return torch.cat(parts)


def _rows_of(points: Tensor) -> int:
    """How many rows are squared together: 16 MiB of float64."""
    return max(1, 2**21 // points.shape[1])
