"""The Triton kernels give the codes of real arithmetic, in every precision and on both paths. Truth
is the float64 brute force of test_residual_quantize_exact.py; the native kernel, which that file
holds against it, stands in for it where only equality is in question."""

import pytest
import torch

from craft_kernels import FrozenCodebook, deferred_finite_checks, residual_quantize

pytest.importorskip("triton", reason="this lane needs triton: pip install triton")
from craft_kernels.residual_quantize import device_words, gpu_tiles
from craft_kernels.residual_quantize.precision import PRECISIONS
from craft_kernels.residual_quantize.triton import launch, plan
from craft_kernels.residual_quantize.triton.plan import Tiles
from tests.craft_kernels import test_residual_quantize_exact as exact

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, on purpose overflows

ORDER = ("ieee", "tf32x3", "bf16x3", "tf32", "bf16")
WAYS = [("streaming", precision) for precision in ORDER] + [("gram", "ieee")]
WAYS += [("fused", precision) for precision in ("tf32x3", "bf16x3", "bf16")]
every_way = pytest.mark.parametrize("way", WAYS, indirect=True, ids="-".join)
SOME = [WAYS[1], WAYS[4], WAYS[5], WAYS[6]]
some_ways = pytest.mark.parametrize("way", SOME, indirect=True, ids="-".join)


@pytest.fixture
def way(request, monkeypatch):
    path, precision = request.param
    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    monkeypatch.setenv("CRAFT_KERNELS_PRECISION", precision)
    return request.param


def check(z, codebook, levels):
    codes, total, residuals = exact.truth(z, codebook, levels)
    frozen = FrozenCodebook(codebook, levels if codebook.ndim == 2 else None)
    got = residual_quantize(z, frozen, impl="triton")
    assert torch.equal(got.codes, codes)
    assert torch.equal(got.quantized, total.to(z.dtype))
    norms = residuals.double().square().sum(-1).float()
    torch.testing.assert_close(got.residual_sq_norms, norms, rtol=2e-7, atol=0)
    native = residual_quantize(z, frozen, impl="native")
    assert torch.equal(got.residual_sq_norms, native.residual_sq_norms)  # bit for bit
    return got


@every_way
def test_random(way, generator):
    check(2 * torch.randn(4, 33, generator=generator), torch.randn(300, 33, generator=generator), 2)


@some_ways
@pytest.mark.parametrize(
    ("n", "k", "d", "levels"),
    [
        (1, 1, 1, 1),
        (3, 2, 3, 4),
        (2, 1000, 16, 3),
        (2, 2100, 40, 2),  # more than one tile of codewords
    ],
)
def test_shapes(way, n, k, d, levels, generator):
    codebook = torch.randn(k, d, generator=generator)
    check(2 * torch.randn(n, d, generator=generator), codebook, levels)


@pytest.mark.parametrize("path", ["streaming", "fused"])
def test_several_tiles_of_tokens(path, monkeypatch, generator):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    block_d = 32 if path == "fused" else 16  # of which the fused path has one
    small = Tiles(BLOCK_N=16, BLOCK_K=32, BLOCK_D=block_d, num_warps=1, num_stages=1)
    monkeypatch.setattr(plan, "tiles", lambda *_: small)
    monkeypatch.setattr(plan, "fused_tiles", lambda *_: small)
    monkeypatch.setattr(gpu_tiles, "_TILE_BYTES", 4 * 6 * 20)  # and 20 tokens at a time
    check(torch.randn(50, 20, generator=generator), torch.randn(90, 20, generator=generator), 1)


@pytest.mark.parametrize("path", ["streaming", "fused"])
def test_separate_codebooks(path, monkeypatch, generator):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    check(
        2 * torch.randn(6, 12, generator=generator), torch.randn(3, 90, 12, generator=generator), 3
    )


@some_ways
def test_integer_ties_take_the_lowest_index(way, generator):
    codebook = torch.randint(-2, 3, (200, 3), generator=generator).float()
    z = torch.randint(-4, 5, (6, 3), generator=generator).float() / 2
    check(z, codebook, 2)


@some_ways
@pytest.mark.parametrize("scale", [1e38, 1e-22, 1e-44])
def test_magnitudes(way, scale, generator):
    """Where fast arithmetic overflows or vanishes, the bound sends everything to float64."""
    codebook = torch.rand(12, 5, generator=generator).sub(0.5) * scale
    check(torch.rand(2, 5, generator=generator).sub(0.5) * scale, codebook, 2)


@some_ways
def test_differences_below_float64(way):
    codebook = torch.zeros(3, 4)
    codebook[:, 0] = 1.0
    codebook[:, 1] = 2.0**20
    codebook[0, 2] = 2.0**-60
    codebook[1, 2] = 2.0**-61
    codebook[2, 3] = 2.0**-61  # ties with the one before it
    got = check(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1e-18, 0.0]]), codebook, 1)
    assert got.codes[0, 0] == 1


def near_ties(generator, tokens=12):
    """Codewords so close that every precision but float64 mistakes some for others."""
    word = torch.randn(1, 32, generator=generator)
    codebook = word + 2.0**-12 * torch.randn(300, 32, generator=generator)
    return word + 2.0**-8 * torch.randn(tokens, 32, generator=generator), codebook


@every_way
def test_near_ties(way, generator):
    check(*near_ties(generator, 3), 1)


@pytest.mark.parametrize("way", WAYS[1:5] + WAYS[6:], indirect=True, ids="-".join)
def test_products_as_bad_as_tensor_cores_may_be(way, noisy, generator):
    check(torch.randn(4, 24, generator=generator), torch.randn(400, 24, generator=generator), 2)


@pytest.mark.parametrize("name", ["tf32", "bf16"])
def test_the_bound_is_what_makes_codes_exact(monkeypatch, name, generator):
    """Without it, the same arithmetic gives wrong codes: the tests above can fail."""
    z, codebook = near_ties(generator)
    codes = exact.truth(z, codebook, 1)[0]
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "streaming")
    monkeypatch.setenv("CRAFT_KERNELS_PRECISION", name)
    blind = PRECISIONS[name]._replace(split=0.0, sum=0.0)
    monkeypatch.setitem(PRECISIONS, name, blind)
    if blind.rounded:
        monkeypatch.setattr(
            device_words.DeviceWords,
            "operand",
            lambda self, _: (self._words.bfloat16(), torch.zeros(3, dtype=torch.float64)),
        )
    else:
        monkeypatch.setattr(launch, "GROUP", 1)  # a group is scored whole, which heals mistakes
    got = residual_quantize(z, FrozenCodebook(codebook, 1), impl="triton").codes
    assert (got != codes).any()


def test_real_size(monkeypatch, generator):
    """K = 16384 in one piece, with few tokens."""
    codebook = torch.randn(16384, 64, generator=generator)
    z = torch.randn(4, 64, generator=generator)
    frozen = FrozenCodebook(codebook, 4, gram_bytes=0)
    expected = residual_quantize(z, frozen, impl="native")
    for precision in ("tf32x3", "bf16"):
        monkeypatch.setenv("CRAFT_KERNELS_PRECISION", precision)
        for path in ("streaming", "fused"):
            monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
            got = residual_quantize(z, frozen, impl="triton")
            assert all(map(torch.equal, got, expected))


@some_ways
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_strides(way, dtype, generator):
    z = torch.randn(2, 3, 18, generator=generator).to(dtype)[..., ::2]
    frozen = FrozenCodebook(torch.randn(50, 9, generator=generator), 2)
    got = residual_quantize(z, frozen, impl="triton")
    expected = residual_quantize(z, frozen, impl="native")
    assert all(map(torch.equal, got, expected))
    assert got.quantized.dtype == dtype


@some_ways
def test_reads_and_writes_stay_inside(way, generator):
    """Surrounded by NaN, a tensor read past its end would show."""

    def poisoned(tensor):
        room = torch.full((tensor.numel() + 512,), torch.nan)
        inside = room[256 : 256 + tensor.numel()].view(tensor.shape)
        return inside.copy_(tensor)

    frozen = FrozenCodebook(torch.randn(37, 7, generator=generator), 2)
    book = frozen._codewords[0]
    book.words = poisoned(book.words)
    norms = device_words.device_words(book)
    norms.half_sq_norms = poisoned(norms.half_sq_norms)
    z = torch.randn(3, 7, generator=generator)
    got = residual_quantize(poisoned(z), frozen, impl="triton")
    assert torch.equal(got.codes, exact.truth(z, frozen.tensor, 2)[0])


@some_ways
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(way, value):
    z = torch.zeros(2, 3)
    z[1, 2] = value
    with pytest.raises(ValueError, match=rf"z must be finite, got {value} at position \(1, 2\)"):
        residual_quantize(z, FrozenCodebook(torch.eye(3), 2), impl="triton")


@some_ways
def test_not_finite_at_the_end_of_a_block(way):
    z = torch.zeros(2, 3)
    z[1, 2] = torch.nan
    with deferred_finite_checks() as checks:
        got = residual_quantize(z, FrozenCodebook(torch.eye(3), 2), impl="triton")
        with pytest.raises(ValueError, match=r"z must be finite, got nan at position \(1, 2\)"):
            checks.check()
    assert got.residual_sq_norms[0].isfinite().all()
    assert got.residual_sq_norms[1].isnan().all()


@some_ways
def test_empty_batch(way):
    got = residual_quantize(torch.zeros(0, 4), FrozenCodebook(torch.eye(4), 2), impl="triton")
    assert got.codes.shape == (0, 2)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_bit_for_bit(shared, dtype, generator):
    codebook = torch.randn(*(() if shared else (3,)), 30, 17, generator=generator)
    z = torch.randn(3, 17, generator=generator).to(dtype).requires_grad_()
    for loss in (
        lambda r: (r.quantized.float() ** 2).sum() + (r.residual_sq_norms**2).sum(),
        lambda r: (r.residual_sq_norms**2).sum(),
    ):
        got, expected = (
            torch.autograd.grad(loss(residual_quantize(z, codebook, 3, impl=impl)), z)[0]
            for impl in ("triton", "native")
        )
        assert torch.equal(got, expected)
