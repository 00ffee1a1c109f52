"""How far a score of a Triton or cuBLAS product may lie from its value in real arithmetic.

csrc/score_bound.h derives it for float32 products; two things are added here. Operands may be
rounded before they are multiplied, and tensor cores add products without IEEE rounding.

* Operands stored in bfloat16: <r, c> - <r', c'> = <r - r', c> + <r', c - c'>, both by
  Cauchy-Schwarz, from norms of the differences that were measured, not estimated.
* Operands split or truncated by the instruction, and sums: see precision.py.
"""

import triton
import triton.language as tl

_UNIT = tl.constexpr(2.0**-24)
_TINY = tl.constexpr(2.0**-126)
_HUGE = tl.constexpr(2.0**120)


@triton.jit
def dot_bound(norm, norm_error, max_norm, max_error, relative, D):
    """For a float32 dot product with any codeword. All float64 scalars: |r|; |r - r'|, with r' the
    operand of the product; upper bounds of |c_j| and |c_j - c_j'|; what is lost relative to
    |r'| |c_j'|, by splitting and by summation."""
    magnitude = (norm + norm_error) * (max_norm + max_error)
    rounding = norm_error * max_norm + (norm + norm_error) * max_error
    flushed = _TINY * tl.full((), D, tl.float64) * (4 + 2 * (norm + max_norm))
    return rounding + relative * magnitude + flushed


@triton.jit
def rounded(bound, norm, max_norm):
    """With what the last subtraction loses; infinite where float32 cannot be believed at all."""
    magnitude = norm * max_norm + 0.5 * max_norm * max_norm + bound
    return tl.where(magnitude < _HUGE, 1.01 * (bound + _UNIT * magnitude + _TINY), float("inf"))


@triton.jit
def bound_from_dot(norm, norm_error, max_norm, max_error, relative, D):
    """For s[j] = fl(<r, c_j>) - fl(|c_j|^2 / 2)."""
    dot = dot_bound(norm, norm_error, max_norm, max_error, relative, D)
    return rounded(dot + _UNIT * 0.5 * max_norm * max_norm + _TINY, norm, max_norm)


@triton.jit
def bound_from_gram(previous, norm, max_norm, relative, D):
    """For s'[j] = s[j] - fl(<c_k, c_j>), where `previous` bounds s."""
    gram = dot_bound(max_norm, 0.0, max_norm, 0.0, relative, D)
    return rounded(previous + gram + _UNIT * norm * max_norm, norm, max_norm)


@triton.jit
def near_threshold(greatest, bound):  # float32
    """The nearest codeword's true score is at least that of any other: its computed one lies at
    most two bounds below the greatest. Rounded down; the bound has to spare what denormals lose."""
    threshold = (greatest.to(tl.float64) - 2 * bound).to(tl.float32)
    return threshold - tl.abs(threshold) * 2.0**-22


@triton.jit
def bound_in_float64(norm, max_norm, D):
    """For <r, c_j> - |c_j|^2 / 2 in float64."""
    dim = tl.full((), D, tl.float64)
    magnitude = norm * max_norm + 0.5 * max_norm * max_norm
    return 1.01 * ((dim + 8) * 2.0**-53 * magnitude + dim * 2.0**-252)
