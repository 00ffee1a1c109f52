"""tables.fixed_log, operation for operation."""

import triton
import triton.language as tl

_LN2 = tl.constexpr(12193974156573)  # round(ln 2 * 2^44)
_SQRT_HALF = tl.constexpr(0.7071067811865476)
_ROUND = tl.constexpr(1.5 * 2.0**52)  # adding it leaves no bits for a fraction


@triton.jit
def fixed_log(
    x,  # [...] float32, finite, > 0
):  # [...] int64
    """round(ln x * 2^44). Needs a launch without fused multiply-add."""
    bits = x.to(tl.float64).to(tl.int64, bitcast=True)  # no float32 is a denormal float64
    exponent = (bits >> 52) - 1022
    mantissa = ((bits & 0xFFFFFFFFFFFFF) | (1022 << 52)).to(tl.float64, bitcast=True)
    low = mantissa < _SQRT_HALF
    mantissa = tl.where(low, mantissa * 2, mantissa)
    exponent -= low.to(tl.int64)
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = tl.full(x.shape, 1 / 21, tl.float64)
    for half in tl.static_range(9, -1, -1):  # type: ignore[misc]
        series = series * square + 1 / (2 * half + 1)
    scaled = 2 * s * series * 2.0**44
    return exponent * _LN2 + ((scaled + _ROUND) - _ROUND).to(tl.int64)
