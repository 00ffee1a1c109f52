"""Sums that do not depend on the order of their terms.

Every term is rounded to a multiple of a power of two and added as an int64. Integer addition is
associative, so a sum is the same bits for any batch size, number of threads or processes, and
device, which float addition cannot promise. The multiple is chosen from bounds of the terms and of
their number, so that no sum overflows; with a million terms a term keeps 41 bits below the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor

#: Sums stay below 2^62, a bit away from the end of int64.
_BITS = 62


@dataclass(frozen=True)
class FixedPoint:
    """Numbers as multiples of 2^-shift."""

    shift: int

    @classmethod
    def holding(cls, bound: float, terms: int) -> FixedPoint:
        """For sums of up to ``terms`` numbers, none of them above ``bound`` in absolute value."""
        exponent = math.frexp(bound)[1] if bound > 0 else 0  # bound < 2^exponent
        return cls(_BITS - exponent - max(1, terms).bit_length())

    def of(self, numbers: Tensor) -> Tensor:  # [...] float -> [...] int64
        return (numbers.double() * 2.0**self.shift).round().long()  # the product is exact

    def value(self, sums: Tensor) -> Tensor:  # [...] int64 -> [...] float64
        return sums.double() * 2.0**-self.shift

    def number(self, total: int) -> float:
        """One sum, a Python integer, as a float."""
        return math.ldexp(total, -self.shift)


def total_over_processes(*sums: Tensor) -> None:
    """Add int64 sums over all processes, in place; nothing to do without torch.distributed."""
    _over_processes(dist.ReduceOp.SUM, sums)


def largest_over_processes(*values: Tensor) -> None:
    """The largest of all processes, in place; nothing to do without torch.distributed."""
    _over_processes(dist.ReduceOp.MAX, values)


def smallest_over_processes(*values: Tensor) -> None:
    """The smallest of all processes, in place; nothing to do without torch.distributed."""
    _over_processes(dist.ReduceOp.MIN, values)


def _over_processes(operation: dist.ReduceOp.RedOpType, values: tuple[Tensor, ...]) -> None:
    if dist.is_available() and dist.is_initialized():
        for value in values:
            dist.all_reduce(value, operation)
