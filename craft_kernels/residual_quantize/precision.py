"""The arithmetic that proposes codewords on a GPU.

Every choice gives the same codes: triton/score_bound.py bounds its errors, and exact arithmetic
decides among what the bound leaves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# The error of a sum per term, relative to the sum of magnitudes. Tensor cores align the products
# of a group to the largest and truncate, then truncate again when they add to the accumulator: each
# product and each sum loses at most 2^-23 of the largest magnitude involved.
_SUM = 2.0**-22


class Precision(NamedTuple):
    """How a product is computed, and how much it may lose."""

    dot: str  # input_precision of tl.dot
    split: float  # the share of |x y| that a product leaves out
    sum: float = _SUM
    rounded: bool = False  # whether operands are stored in bfloat16

    def relative_error(self, dim: int) -> float:
        """The error of a dot product of length dim, relative to the product of the norms."""
        if dim * self.sum > 0.5:
            return math.inf
        return self.split + dim * self.sum / (1 - dim * self.sum)


# Errors of splitting, assuming truncation, the worst case: TF32 keeps 11 bits, bfloat16 keeps 8.
#   tf32    |x y - x' y'| <= (2 * 2^-10 + 2^-20) |x y|
#   tf32x3  x = x1 + x2 + e, |e| <= 2^-20 |x|; x2 y2 and all products with e are left out
#   bf16x3  the same with |e| <= 2^-14 |x|
PRECISIONS = {
    "ieee": Precision("ieee", 0.0),  # on AMD, too, this uses the matrix units
    "tf32x3": Precision("tf32x3", 2.0**-18),
    "bf16x3": Precision("bf16x3", 2.0**-12),
    "tf32": Precision("tf32", 2.0**-8),
    "bf16": Precision("ieee", 0.0, rounded=True),
}
