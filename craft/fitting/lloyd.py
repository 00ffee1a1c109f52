"""Lloyd's algorithm on residuals: assign every row exactly, then move codewords to their means.

What a level sees, the assignment and the arithmetic of residuals are those of `craft.quantize`.
With several levels on one table, a codeword moves to the mean of all that was given to it, at any
level; with one level this is plain k-means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from craft.fitting.distances import blocks_of, squared_lengths
from craft.fitting.exact_sums import (
    Grid,
    largest_over_processes,
    smallest_over_processes,
    total_over_processes,
)
from craft_kernels import FrozenCodebook, residual_quantize

#: Yields a process's rows chunk by chunk: their numbers [n] int64, and values [n, D] float32.
Chunks = Callable[[], Iterator[tuple[Tensor, Tensor]]]

#: How far from the mean, as a share of the way to the farthest row. On groups of normal rows a
#: tenth ended with 1 % less error than the farthest row itself, which is often an outlier.
_ASIDE = 0.1
_NOBODY = torch.iinfo(torch.int64).max


class Iteration(NamedTuple):
    """How far a fit has come.

    Attributes:
        level: that is being fitted, from 0; -1 if one table serves all levels.
        iteration: of this level, from 0, which measures the start.
        error: mean over rows of |r|^2 after the level; over all levels of a shared table, of
            |r_1|^2 + ... + |r_L|^2.
        unused: codewords that no row was given to.
    """

    level: int
    iteration: int
    error: float
    unused: int


@dataclass
class Tally:
    """What a pass over all rows has counted, by codeword."""

    sums: Tensor  # [K, D] float64, exact
    counts: Tensor  # [K] int64
    errors: Tensor  # [K] float64, exact: the sum of squared distances
    farthest: Tensor  # [K] float64, the largest squared distance of a row
    whose: Tensor  # [K] int64, row * levels + level of the first that is so far away

    @property
    def error(self) -> float:
        """The sum of all squared distances."""
        return float(self.errors.sum())

    @property
    def unused(self) -> Tensor:  # [k] int64
        """Codewords that nothing was given to."""
        return (self.counts == 0).nonzero()[:, 0]

    def means(self) -> Tensor:  # [K, D] float32
        """Where codewords belong; zero for those without rows."""
        return (self.sums / self.counts.clamp(min=1)[:, None]).float()

    def donors(self) -> Tensor:  # [k] int64
        """Codewords that can share their rows, that with the largest error first."""
        order = torch.argsort(self.errors, descending=True, stable=True)
        return order[self.farthest[order] > 0]


def assign(
    table: Tensor,  # [K, D] float32
    levels: int,
    chunks: Chunks,
    rows: int,
    largest: float,
) -> Tally:
    """One pass: every row to its nearest codewords.

    Args:
        levels: quantised one after the other on the same table.
        rows: of all processes together.
        largest: no component of a row is larger.
    """
    size, dim = table.shape
    bound = largest + levels * float(table.abs().max())  # of any residual's component
    sums_of = Grid.holding(bound, rows * levels)
    squares, errors_of = Grid.holding(bound**2, dim), Grid.holding(dim * bound**2, rows * levels)
    frozen = FrozenCodebook(table, levels)
    zeros = torch.zeros(size, dtype=torch.float64, device=table.device)
    tally = Tally(
        torch.zeros(size, dim, dtype=torch.float64, device=table.device),
        zeros.long(),
        zeros.clone(),
        zeros - 1,
        torch.full_like(zeros, _NOBODY, dtype=torch.int64),
    )
    for numbers, residual in chunks():
        codes = residual_quantize(residual, frozen).codes
        for level in range(levels):
            given = codes[:, level]
            together = blocks_of(residual)
            for some, to in zip(residual.split(together), given.split(together), strict=True):
                tally.sums.index_add_(0, to, sums_of.round(some.double()))
            residual = residual - table[given]
            parts = residual.split(together)
            distances = torch.cat([squared_lengths(part, squares) for part in parts])
            tally.counts.index_add_(0, given, torch.ones_like(given))
            tally.errors.index_add_(0, given, errors_of.round(distances.clone()))
            _note_farthest(tally, given, distances, numbers * levels + level)
    _join_processes(tally)
    return tally


def move(
    table: Tensor,  # [K, D] float32
    tally: Tally,
    input_of: Callable[[Tensor], Tensor],
) -> Tensor:  # [K, D] float32
    """The next table: means; an unused codeword shares the rows of the one with the largest error.

    Both stand on either side of the mean, on the line to the row that is farthest from it.

    Args:
        input_of: what stands behind entries of ``Tally.whose``, [k] -> [k, D].
    """
    moved = torch.where(tally.counts[:, None] > 0, tally.means(), table)
    unused, donors = tally.unused, tally.donors()
    count = min(len(unused), len(donors))
    if count:
        donors = donors[:count]
        aside = _ASIDE * (input_of(tally.whose[donors]) - moved[donors])
        moved[unused[:count]] = moved[donors] + aside
        moved[donors] -= aside
    return moved


def _note_farthest(tally: Tally, codes: Tensor, distances: Tensor, whose: Tensor) -> None:
    before = tally.farthest.clone()
    tally.farthest.scatter_reduce_(0, codes, distances, "amax")
    tally.whose[tally.farthest > before] = _NOBODY
    first = distances == tally.farthest[codes]
    tally.whose.scatter_reduce_(0, codes[first], whose[first], "amin")


def _join_processes(tally: Tally) -> None:
    total_over_processes(tally.sums, tally.counts, tally.errors)
    own = tally.farthest.clone()
    largest_over_processes(tally.farthest)
    tally.whose[own < tally.farthest] = _NOBODY
    smallest_over_processes(tally.whose)
