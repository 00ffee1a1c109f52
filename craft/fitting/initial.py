"""The first codewords of k-means, drawn from the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from craft.fitting.distances import blocks_of, squared_lengths
from craft.fitting.exact_sums import Grid

Init = Literal["subset", "kmeans++"]
#: Rows that k-means++ draws from, for each codeword: its time grows with their number times size.
ROWS_A_CODEWORD = 4


def sample(
    rows: int,
    count: int,
    generator: torch.Generator,
) -> Tensor:  # [min(count, rows)] int64, ascending
    """Numbers of distinct rows."""
    return torch.randperm(rows, generator=generator)[:count].sort().values


def initial_codewords(
    init: Init,
    size: int,
    rows: int,
    gather: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:  # [size, D] float32
    """``size`` of the rows.

    Args:
        init: "subset" draws distinct rows; "kmeans++" draws each with a probability that grows
            with the squared distance to those already drawn (Arthur and Vassilvitskii, 2007), from
            a sample of ``4 * size`` rows; for thousands of codewords that takes minutes.
        rows: their number, at least ``size``.
        gather: rows by number, float32 on the device that is to be used.
        generator: on the CPU.
    """
    if init == "subset":
        return gather(sample(rows, size, generator))
    points = gather(sample(rows, ROWS_A_CODEWORD * size, generator))
    return points[_spread(points, size, generator)]


def _spread(points: Tensor, size: int, generator: torch.Generator) -> Tensor:  # [size] int64
    n, dim = points.shape
    bound = (2 * float(points.abs().max())) ** 2
    squares, distances_of = Grid.holding(bound, dim), Grid.holding(dim * bound, n)
    together = blocks_of(points)
    chosen = torch.empty(size, dtype=torch.int64)
    chosen[0] = torch.randint(n, (1,), generator=generator)
    nearest = torch.full((n,), torch.inf, dtype=torch.float64, device=points.device)
    for i in range(1, size):
        center = points[chosen[i - 1]]
        parts = [squared_lengths(part - center, squares) for part in points.split(together)]
        nearest = torch.minimum(nearest, distances_of.round(torch.cat(parts)))
        reached = nearest.cumsum(0)  # exact, so which row is drawn hangs on no order of addition
        steps = int(reached[-1] / distances_of.step)
        if steps == 0:  # every row equals one already drawn: any of the others will do
            left = torch.ones(n, dtype=torch.bool)
            left[chosen[:i]] = False
            chosen[i:] = left.nonzero()[: size - i, 0]
            break
        drawn = torch.randint(steps, (1,), generator=generator).double() * distances_of.step
        chosen[i] = torch.searchsorted(reached, drawn.to(points.device), right=True).cpu()
    return chosen
