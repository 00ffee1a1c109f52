"""Logarithms and distances in fixed point: the only non-integer constants of the pruning order.

Every backend ranks with these integers, so all of them agree bit for bit on every machine. Each
table is additive where the real function is, so that values equal as real numbers are equal here:
`ln 6 - ln 3 == ln 2 - ln 1`, and `sqrt 8 == 2 sqrt 2`.
"""

from functools import lru_cache

import torch
from torch import Tensor

LOG_UNIT_BITS = 44  # |ln| of a float32 is below 2**7: differences of two stay exact in a float64
DISTANCE_UNIT_BITS = 30
_LN2 = 12193974156573  # round(ln 2 * 2**44)
_SQRT_HALF = 0.7071067811865476


def fixed_log(x: Tensor) -> Tensor:
    """round(ln x * 2**44) as int64, from IEEE basic operations only.

    The logarithms of math libraries differ in the last bit from machine to machine; this series
    does not. With m in [sqrt 1/2, sqrt 2), ln m = 2 (s + s^3/3 + s^5/5 + ...), s = (m-1)/(m+1);
    the omitted terms are below 1e-17. Powers of two give exact multiples of one constant. The C++
    kernels (csrc/prune_rules.h) and Triton have the same function: change all three together.
    """
    mantissa, exponent = torch.frexp(x.double())
    low = mantissa < _SQRT_HALF
    mantissa = torch.where(low, mantissa * 2, mantissa)
    exponent = exponent.long() - low.long()
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = torch.full_like(s, 1 / 21)
    for odd in range(19, 0, -2):
        series = series * square + 1 / odd
    return exponent * _LN2 + torch.round(2 * s * series * 2.0**LOG_UNIT_BITS).long()


@lru_cache(maxsize=16)
def log_counts(n: int) -> Tensor:  # [n+1] int64
    """ln 0 .. ln n in units of 2**-44, each the sum over its prime factors; entry 0 is unused."""
    logs = fixed_log(torch.arange(n + 1, dtype=torch.float64, device="cpu").clamp(min=1)).tolist()
    for value in range(4, n + 1):
        factor = next((p for p in range(2, int(value**0.5) + 1) if value % p == 0), value)
        if factor < value:
            logs[value] = logs[factor] + logs[value // factor]
    return torch.tensor(logs, dtype=torch.int64, device="cpu")


@lru_cache(maxsize=16)
def distances(height: int, width: int) -> Tensor:  # [H, W] int64
    """sqrt(dr^2 + dc^2) in units of 2**-30 for every offset (|dr|, |dc|) on the grid.

    Each is s sqrt(f) with the largest square factor s^2 extracted, so that sums of distances that
    are equal as real numbers are equal as integers.
    """
    rows, columns = torch.arange(height, device="cpu"), torch.arange(width, device="cpu")
    square = rows[:, None] ** 2 + columns**2
    root = torch.ones_like(square)
    for s in range(2, int((height**2 + width**2) ** 0.5) + 1):
        root[square % (s * s) == 0] = s
    free = (square // (root * root)).double()
    return root * torch.round(free.sqrt() * 2.0**DISTANCE_UNIT_BITS).long()


@lru_cache(maxsize=16)
def nearest_offsets(height: int, width: int) -> Tensor:  # [(2H-1)(2W-1)-1, 2] int32
    """All non-zero offsets (dr, dc) on the grid, nearest first, as the C++ kernels walk them."""
    dr = torch.arange(1 - height, height, device="cpu")
    dc = torch.arange(1 - width, width, device="cpu")
    offsets = torch.cartesian_prod(dr, dc)
    square = (offsets**2).sum(-1)
    return offsets[square.argsort(stable=True)][1:].int().contiguous()
