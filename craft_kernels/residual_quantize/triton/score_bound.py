"""How far a score of a Triton or cuBLAS product may lie from its value in real arithmetic.

csrc/score_bound.h derives the bound for float32 products. Two things are added here: operands may
be rounded before they are multiplied, and tensor cores add products without IEEE rounding.

* Operands stored in bfloat16: <r, c> - <r', c'> = <r - r', c> + <r', c - c'>, both bounded by
  Cauchy-Schwarz, with the measured norms of the differences.
* Operands that the instruction splits or truncates, and sums: see precision.py.
"""

import triton
import triton.language as tl

_UNIT = tl.constexpr(2.0**-24)
_TINY = tl.constexpr(2.0**-126)
_HUGE = tl.constexpr(2.0**120)


@triton.jit
def dot_bound(norm, norm_error, max_norm, max_error, relative, D):
    """The bound for a float32 dot product with any codeword. The arguments are float64 scalars:
    |r|; |r - r'|, with r' the operand of the product; upper bounds of |c_j| and |c_j - c_j'|; and
    the error relative to |r'| |c_j'| of splitting and summation."""
    magnitude = (norm + norm_error) * (max_norm + max_error)
    rounding = norm_error * max_norm + (norm + norm_error) * max_error
    flushed = _TINY * tl.full((), D, tl.float64) * (4 + 2 * (norm + max_norm))
    return rounding + relative * magnitude + flushed


@triton.jit
def rounded(bound, norm, max_norm):
    """The bound with the last subtraction's error; infinite where float32 might overflow."""
    magnitude = norm * max_norm + 0.5 * max_norm * max_norm + bound
    return tl.where(magnitude < _HUGE, 1.01 * (bound + _UNIT * magnitude + _TINY), float("inf"))


@triton.jit
def bound_from_dot(norm, norm_error, max_norm, max_error, relative, D):
    """The bound for s[j] = fl(<r, c_j>) - fl(|c_j|^2 / 2)."""
    dot = dot_bound(norm, norm_error, max_norm, max_error, relative, D)
    return rounded(dot + _UNIT * 0.5 * max_norm * max_norm + _TINY, norm, max_norm)


@triton.jit
def bound_from_gram(previous, norm, max_norm, relative, D):
    """The bound for s'[j] = s[j] - fl(<c_k, c_j>), where `previous` is that for s."""
    gram = dot_bound(max_norm, 0.0, max_norm, 0.0, relative, D)
    return rounded(previous + gram + _UNIT * norm * max_norm, norm, max_norm)


@triton.jit
def near_threshold(greatest, bound):  # float32
    """The least computed score that the nearest codeword can have: its true score is at least that
    of any other codeword, so its computed one lies at most two bounds below the greatest. Rounded
    down; the bound has enough slack for flushed denormals."""
    threshold = (greatest.to(tl.float64) - 2 * bound).to(tl.float32)
    return threshold - tl.abs(threshold) * 2.0**-22


@triton.jit
def bound_in_float64(norm, max_norm, D):
    """The bound for <r, c_j> - |c_j|^2 / 2 in float64."""
    dim = tl.full((), D, tl.float64)
    magnitude = norm * max_norm + 0.5 * max_norm * max_norm
    return 1.01 * ((dim + 8) * 2.0**-53 * magnitude + dim * 2.0**-252)
