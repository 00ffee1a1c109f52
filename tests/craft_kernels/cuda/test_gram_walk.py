"""The row walk, with its thread block acted out on the host, gives the codes of real arithmetic."""

import pytest
import torch

from craft_kernels import FrozenCodebook, residual_quantize
from craft_kernels.residual_quantize import cuda, device_words, gpu_tiles
from craft_kernels.residual_quantize.precision import PRECISIONS
from tests.craft_kernels import test_residual_quantize_exact as exact


def cut(x):
    """float32 with 13 bits of the significand cut off, as tensor cores read TF32."""
    return (x.contiguous().view(torch.int32) >> 13 << 13).view(torch.float32)


@pytest.fixture
def tf32(request, monkeypatch, on_host):
    """torch.mm as on a GPU where the user lowered its precision."""
    if not request.param:
        return
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, y, out: mm(cut(x), cut(y), out=out))
    for module in (cuda, device_words):
        monkeypatch.setattr(module, "matmul_precision", lambda: PRECISIONS["tf32"])


both_precisions = pytest.mark.parametrize("tf32", [False, True], indirect=True)


def walk(z, codebook, levels):
    frozen = FrozenCodebook(codebook, levels)
    return cuda.residual_quantize(z, frozen._codewords, levels)


def check(z, codebook, levels):
    codes, total, _ = exact.truth(z, codebook, levels)
    got_codes, quantized, sq_norms = walk(z, codebook, levels)
    assert torch.equal(got_codes, codes)
    assert torch.equal(quantized, total)
    native = residual_quantize(z, FrozenCodebook(codebook, levels), impl="native")
    assert torch.equal(sq_norms, native.residual_sq_norms)  # bit for bit


@both_precisions
@pytest.mark.parametrize(
    ("n", "k", "d", "levels"),
    [(1, 1, 1, 1), (7, 2, 3, 4), (30, 257, 16, 4), (20, 1000, 33, 3), (5, 4096, 256, 4)],
)
def test_shapes(on_host, tf32, n, k, d, levels, generator):
    codebook = torch.randn(k, d, generator=generator)
    check(2 * torch.randn(n, d, generator=generator), codebook, levels)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("threads", [32, 256])
def test_any_number_and_order_of_threads(on_host, threads, descending, generator):
    on_host.threads, on_host.descending = threads, descending
    codebook = torch.randint(-2, 3, (300, 5), generator=generator).float()
    check(torch.randint(-4, 5, (20, 5), generator=generator).float() / 2, codebook, 3)


@pytest.mark.parametrize("scale", [1e38, 1e19, 1e-22, 1e-38, 1e-44])
def test_magnitudes(on_host, scale, generator):
    """Where fast arithmetic overflows or vanishes, the bound sends everything to float64."""
    codebook = torch.rand(40, 5, generator=generator).sub(0.5) * scale
    check(torch.rand(9, 5, generator=generator).sub(0.5) * scale, codebook, 3)


def test_differences_below_float64(on_host):
    codebook = torch.zeros(3, 4)
    codebook[:, 0] = 1.0
    codebook[:, 1] = 2.0**20
    codebook[0, 2] = 2.0**-60
    codebook[1, 2] = 2.0**-61
    codebook[2, 3] = 2.0**-61  # ties with the one before it
    z = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1e-18, 0.0]])
    check(z, codebook, 1)
    assert walk(z, codebook, 1)[0][0, 0] == 1


def near_ties(generator, tokens=60):
    word = torch.randn(1, 32, generator=generator)
    codebook = word + 2.0**-12 * torch.randn(300, 32, generator=generator)
    return word + 2.0**-8 * torch.randn(tokens, 32, generator=generator), codebook


@both_precisions
def test_near_ties(on_host, tf32, generator):
    check(*near_ties(generator), 3)


@pytest.mark.parametrize("tf32", [True], indirect=True)
def test_the_bound_is_what_makes_codes_exact(on_host, tf32, monkeypatch, generator):
    """Without it, the same products give wrong codes: the tests above can fail."""
    monkeypatch.setattr(cuda, "_TF32_ROUNDING", 0.0)
    z, codebook = near_ties(generator)
    assert not torch.equal(walk(z, codebook, 3)[0], exact.truth(z, codebook, 3)[0])


def test_another_precision_makes_another_gram_matrix(monkeypatch, generator):
    """Scores and the rows taken from them must be of the same rounded codewords."""
    book = FrozenCodebook(torch.randn(9, 4, generator=generator))._codewords[0]
    shared = device_words.device_words(book)
    before = shared.gram()
    assert shared.gram() is before
    monkeypatch.setattr(device_words, "matmul_precision", lambda: PRECISIONS["tf32"])
    assert shared.gram() is not before


def test_tiles_of_tokens(on_host, monkeypatch, generator):
    monkeypatch.setattr(gpu_tiles, "_TILE_BYTES", 4 * 50 * 7)  # 7 tokens at a time
    check(torch.randn(20, 6, generator=generator), torch.randn(50, 6, generator=generator), 2)
    assert len(on_host.calls) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(on_host, value):
    z = torch.zeros(3, 4)
    z[1, 2] = value
    with pytest.raises(ValueError, match=rf"z must be finite, got {value} at position \(1, 2\)"):
        walk(z, torch.eye(4), 3)


@pytest.mark.parametrize(
    ("codebook", "gram_bytes", "message"),
    [
        (torch.zeros(3, 5, 2), 1 << 30, "needs a codebook shared by all levels, and there are 3"),
        (torch.zeros(24577, 1), 1 << 40, "needs K <= 24576, and the codebook has K = 24577"),
        (torch.zeros(5, 2), 99, "gram_bytes >= 100, and the codebook has gram_bytes = 99"),
    ],
)
def test_where_there_is_no_gram_path(on_host, codebook, gram_bytes, message):
    frozen = FrozenCodebook(codebook, 3, gram_bytes=gram_bytes)
    with pytest.raises(ValueError, match=rf"{message}.*use impl='triton'"):
        cuda.residual_quantize(torch.zeros(1, codebook.shape[-1]), frozen._codewords, 3)
