"""Arithmetic that proposes codewords. Every choice gives the same codes: what it gets wrong, the
bound of triton/score_bound.py covers, and exact arithmetic settles."""

from __future__ import annotations

import math
from typing import NamedTuple

# What a sum loses per term, relative to the sum of magnitudes. Tensor cores align the products of a
# group to the largest and truncate, and truncate again when they add to the accumulator: each of
# the products and each of the sums loses at most 2^-23 of the largest magnitude met.
_SUM = 2.0**-22


class Precision(NamedTuple):
    dot: str  # input_precision of tl.dot
    split: float  # part of |x y| that is left out of a product
    sum: float = _SUM
    rounded: bool = False  # operands are stored in bfloat16

    def relative_error(self, dim: int) -> float:
        """Of a dot product of length dim, relative to the product of the norms."""
        if dim * self.sum > 0.5:
            return math.inf
        return self.split + dim * self.sum / (1 - dim * self.sum)


# Errors of splitting, for operands truncated at worst: TF32 keeps 11 bits, bfloat16 8.
#   tf32    |x y - x' y'| <= (2 * 2^-10 + 2^-20) |x y|
#   tf32x3  x = x1 + x2 + e, |e| <= 2^-20 |x|; left out are x2 y2 and what e takes part in
#   bf16x3  the same with |e| <= 2^-14 |x|
PRECISIONS = {
    "ieee": Precision("ieee", 0.0),  # AMD takes matrix units for it, too
    "tf32x3": Precision("tf32x3", 2.0**-18),
    "bf16x3": Precision("bf16x3", 2.0**-12),
    "tf32": Precision("tf32", 2.0**-8),
    "bf16": Precision("ieee", 0.0, rounded=True),
}
