"""The sign of a difference of two distances, in real arithmetic.

The fixed-point number of csrc/exact_sum.h: bit 0 stands for 2^-298, the square of the smallest
denormal, and each int64 limb holds 32 bits and leaves the rest for carries. There, a product is
added to three limbs of an array; here every limb looks at every product, because Triton has no
indexable array. That is slow but rarely needed: only where float64 cannot separate two codewords.
"""

import triton
import triton.language as tl

# The highest bit position is 253 + 253 + 1, in limb 15; two more for a product's width.
_LIMBS = tl.constexpr(18)
_ROWS = tl.constexpr(32)  # a block's sides are powers of two
_COLUMNS = tl.constexpr(16)


@triton.jit
def _mantissa_exponent(
    x,  # [...] float32
):
    """x = +-mantissa * 2^(exponent - 149)."""
    bits = x.to(tl.int32, bitcast=True)
    biased = (bits >> 23) & 0xFF
    fraction = bits & 0x7FFFFF
    mantissa = tl.where(biased == 0, fraction, fraction | 0x800000).to(tl.int64)
    return mantissa, tl.maximum(biased, 1) - 1


@triton.jit
def _product_in_limbs(
    x,  # [1, n] float32
    y,  # [1, n] float32
    DOUBLINGS: tl.constexpr,
):  # [limbs, n] int64
    """The part of 2^DOUBLINGS x y that belongs to each limb."""
    x_mantissa, x_exponent = _mantissa_exponent(x)  # type: ignore[misc]
    y_mantissa, y_exponent = _mantissa_exponent(y)
    position = x_exponent + y_exponent + DOUBLINGS
    shift = (position & 31).to(tl.int64)
    product = x_mantissa * y_mantissa  # below 2^48
    low = (product & 0xFFFFFFFF) << shift  # below 2^63
    high = (product >> 32) << shift
    offset = tl.arange(0, _ROWS)[:, None] - (position >> 5)
    part = tl.where(offset == 0, low & 0xFFFFFFFF, 0)
    part += tl.where(offset == 1, (low >> 32) + (high & 0xFFFFFFFF), 0)
    part += tl.where(offset == 2, high >> 32, 0)
    return tl.where((x < 0) != (y < 0), -part, part)


@triton.jit
def distance_sign(
    residual,  # pointer to [D] float32, as are the codewords a and b
    a,
    b,
    D,
):
    """The sign of |r - a|^2 - |r - b|^2 = 2 <r, b> - |b|^2 - 2 <r, a> + |a|^2: 1 if b is strictly
    nearer, 0 on a tie, -1 otherwise."""
    sums = tl.zeros((_ROWS,), tl.int64)
    for start in range(0, D, _COLUMNS):
        at = start + tl.arange(0, _COLUMNS)[None, :]
        x = tl.load(residual + at, mask=at < D, other=0.0)
        y = tl.load(a + at, mask=at < D, other=0.0)
        z = tl.load(b + at, mask=at < D, other=0.0)
        parts = _product_in_limbs(x, z, 1) - _product_in_limbs(z, z, 0)
        parts += _product_in_limbs(y, y, 0) - _product_in_limbs(x, y, 1)
        sums += tl.sum(parts, 1)
    carry = tl.full((), 0, tl.int64)
    nonzero = tl.full((), 0, tl.int64)
    for limb in range(_LIMBS):
        carry += tl.sum(tl.where(tl.arange(0, _ROWS) == limb, sums, 0), 0)
        nonzero |= carry & 0xFFFFFFFF
        carry = carry >> 32
    return tl.where(carry < 0, -1, tl.where((nonzero | carry) != 0, 1, 0))
