"""The exact comparison against Python's own integers."""

from fractions import Fraction

import pytest
import torch

pytest.importorskip("triton", reason="this lane needs triton: pip install triton")
import triton
import triton.language as tl

from craft_kernels.residual_quantize.triton.exact_sign import distance_sign


@triton.jit
def kernel(residual, a, b, out, D):
    row = tl.program_id(0)
    sign = distance_sign(residual + row * D, a + row * D, b + row * D, D)
    tl.store(out + row, sign.to(tl.int32))


def integers(x):
    return [int(Fraction(value) * 2**149) for value in x.tolist()]


def sign_of(r, a, b):
    to_a, to_b = (sum((x - y) ** 2 for x, y in zip(r, c, strict=True)) for c in (a, b))
    return (to_a > to_b) - (to_a < to_b)


@pytest.mark.parametrize("spread", [0, 3, 30])
def test_sign(spread, generator):
    rows, D = 14, 37
    r, a, b = (
        torch.randn(rows, D, generator=generator)
        * 2.0 ** torch.randint(-spread, spread + 1, (rows, D), generator=generator)
        for _ in range(3)
    )
    b[:8] = a[:8]  # ties, and what lies next to them
    b[4:8, 5] = torch.nextafter(b[4:8, 5], torch.tensor(torch.inf))
    b[8:11] = 2 * r[8:11] - a[8:11]
    r[11], a[11] = 1e-45, 3e38
    out = torch.zeros(rows, dtype=torch.int32)
    kernel[(rows,)](r, a, b, out, D)
    expected = [sign_of(*map(integers, row)) for row in zip(r, a, b, strict=True)]
    assert out.tolist() == expected
    assert 0 in expected
