"""The product of AVX512-BF16 beside an emulation of its one instruction, VDPBF16PS, and what this
emulation and that of AMX's TDPBF16PS lose beside what csrc/score_bound.h allows a product to lose.
"""

import pytest
import torch

from craft_kernels import FrozenCodebook

LEAST_NORMAL = 2.0**-126
ROW_STEPS = 32760  # of csrc/gram_rows.cpp


def flushed(x):
    return torch.where(x.abs() < LEAST_NORMAL, torch.zeros_like(x), x)


def emulated(tokens, words):
    """[N, K] float32. Each sum gets the product of the odd component, then that of the even one, as
    fused multiply-adds that round to nearest even. Denormal operands count as zero, denormal
    results become zero. Products of bfloat16 numbers are exact in float64, so each sum is rounded
    twice, to 53 bits and to 24: only where the first rounding made a tie would that differ from the
    fused operation, and no case here does."""
    tokens, words = flushed(tokens.bfloat16().float()), flushed(words.bfloat16().float())
    sums = torch.zeros(len(tokens), len(words))
    for even in range(0, tokens.shape[1], 2):
        for d in (even + 1, even):
            if d < tokens.shape[1]:
                products = tokens[:, d, None].double() * words[:, d].double()
                sums = flushed((sums.double() + products).float())
    return sums


def emulated_tiles(tokens, words):
    """[N, K] float32, as TDPBF16PS adds (Intel's instruction reference): in every 32 components the
    products of even and of odd ones form a sum each, by fused multiply-adds; these two are added,
    and the result is added to the sum so far. Rounding and denormals are as in VDPBF16PS. No
    processor has been compared with this."""
    tokens, words = flushed(tokens.bfloat16().float()), flushed(words.bfloat16().float())
    sums = torch.zeros(len(tokens), len(words))
    for first in range(0, tokens.shape[1], 32):
        halves = [torch.zeros_like(sums), torch.zeros_like(sums)]
        for d in range(first, min(first + 32, tokens.shape[1])):
            products = tokens[:, d, None].double() * words[:, d].double()
            halves[d % 2] = flushed((halves[d % 2].double() + products).float())
        sums = flushed(sums + flushed(halves[0] + halves[1]))
    return sums


@pytest.fixture
def native():
    module = pytest.importorskip("craft_kernels._native")
    before = module.isa()
    try:
        module.use_isa("avx512_bf16")
    except ValueError:
        pytest.skip("this processor has no avx512_bf16")
    yield module
    module.use_isa(before)


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 301])
@pytest.mark.parametrize("scale", [1.0, 2.0**-64, 2.0**40])
def test_the_processor_multiplies_as_the_emulation_does(native, dim, scale):
    """Gram rows are the only products that can be seen from here: multiples of a step that the
    greatest entry of their block fixes."""
    g = torch.Generator().manual_seed(dim)
    words = scale * torch.randn(150, dim, generator=g)  # one block
    book = FrozenCodebook(words, 2)._codewords[0].packed()
    rows = book.gram.with_rows(torch.arange(150)).slabs[0].rows
    order = (0.5 * words.double().square().sum(1)).argsort()
    products = emulated(words, words[order])
    header = rows.shape[1] - 2 * native.BLOCK
    steps = rows[:, :4].contiguous().view(torch.float32)
    entries = rows[:, header:].contiguous().view(torch.int16)[:, :150]
    expected = (products.abs().amax(1, keepdim=True) / ROW_STEPS).clamp(min=2.0**-110)
    assert torch.equal(steps, expected)
    assert torch.equal(entries.float(), (products * (1 / expected)).round())


def growing(g):
    return torch.rand(4, 512, generator=g) + 1, torch.rand(5, 512, generator=g) + 1


def cancelling(g):
    x = torch.randn(4, 256, generator=g)
    return torch.cat([x, x], 1), torch.cat([x, -x + 1e-3], 1)


def falling(g):
    return torch.logspace(6, -6, 512).expand(4, -1), torch.randn(5, 512, generator=g)


def vanishing(g):
    return 1e-20 * torch.randn(4, 512, generator=g), 1e-18 * torch.randn(5, 512, generator=g)


def denormal(g):
    return 1e-39 * torch.randn(4, 512, generator=g), torch.randn(5, 512, generator=g)


def short(g):
    return torch.rand(4, 3, generator=g) + 1, torch.rand(5, 3, generator=g) + 1


@pytest.mark.parametrize("emulation", [emulated, emulated_tiles])
@pytest.mark.parametrize("operands", [growing, cancelling, falling, vanishing, denormal, short])
def test_what_an_emulation_loses_is_within_the_bound(emulation, operands):
    tokens, words = operands(torch.Generator().manual_seed(0))
    x, c = tokens.bfloat16().double(), words.bfloat16().double()
    lost = (emulation(tokens, words).double() - x @ c.T).abs()
    dim = tokens.shape[1]
    norms = x.norm(dim=1)[:, None] * c.norm(dim=1)
    share = (dim + 4) * 2.0**-23
    tiny = LEAST_NORMAL * (2 * dim + 1 + dim**0.5 * (x.norm(dim=1)[:, None] + c.norm(dim=1)))
    assert (lost <= share / (1 - share) * norms + tiny).all()
    if operands in (growing, falling):
        assert lost.max() > 0  # the case does round
