"""Sums that do not depend on the order of their terms.

Every term is first rounded to a multiple of a power of two that is so coarse that float64 adds any
number of them up to a bound without rounding. A sum is then the same bits for any batch size,
number of threads or processes, and device, which ordinary floating-point sums cannot promise. With
a million terms, 33 bits of a term remain below the bound: more than float32 has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor

_MANTISSA = 53  # of float64


@dataclass(frozen=True)
class Grid:
    """Multiples of ``step``, a power of two, that float64 adds exactly."""

    step: float

    @classmethod
    def holding(cls, bound: float, terms: int) -> Grid:
        """For sums of up to ``terms`` numbers, none of them above ``bound`` in absolute value."""
        exponent = math.frexp(bound)[1] if bound > 0 else 0  # bound < 2^exponent
        # Rounding may carry a term to 2^exponent itself; the sum still is at most 2^52 steps.
        return cls(2.0 ** (exponent + max(1, terms).bit_length() - (_MANTISSA - 1)))

    def round(self, numbers: Tensor) -> Tensor:  # [...] float64, changed in place
        """The nearest multiples, ties to even."""
        # Where the last bit of float64 is worth one step, addition itself rounds to steps.
        coarse = 1.5 * 2**52 * self.step
        return numbers.add_(coarse).sub_(coarse)


def total_over_processes(*sums: Tensor) -> None:
    """Add exact sums over all processes, in place; nothing to do without torch.distributed."""
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
