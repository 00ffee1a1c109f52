"""Straight through for the sum, 2 r_l for the norms, nothing for the codebook."""

import pytest
import torch

from craft_kernels import FrozenCodebook, residual_quantize

impls = pytest.mark.parametrize("impl", ["native", "reference"])


@pytest.fixture(params=["shared", "separate"])
def codebook(request):
    g = torch.Generator().manual_seed(0)
    return torch.randn(*(() if request.param == "shared" else (4,)), 30, 17, generator=g)


@pytest.fixture
def z():
    return torch.randn(2, 5, 17, generator=torch.Generator().manual_seed(1)).requires_grad_()


def residuals(z, codebook, codes):  # [..., L, D] float64
    r, out = z.detach().double(), []
    for level in range(4):
        words = codebook if codebook.ndim == 2 else codebook[level]
        r = r - words.double()[codes[..., level]]
        out.append(r)
    return torch.stack(out, -2)


@impls
def test_straight_through(z, codebook, impl):
    result = residual_quantize(z, codebook, 4, impl=impl)
    weight = torch.randn(z.shape)
    (result.quantized * weight).sum().backward()
    assert torch.equal(z.grad, weight)


@impls
def test_norms(z, codebook, impl):
    result = residual_quantize(z, codebook, 4, impl=impl)
    weight = torch.randn(result.residual_sq_norms.shape)
    (result.residual_sq_norms * weight).sum().backward()
    expected = (2 * weight[..., None] * residuals(z, codebook, result.codes)).sum(-2)
    torch.testing.assert_close(z.grad, expected.float(), rtol=1e-5, atol=1e-5)


def test_norms_by_finite_differences(z, codebook):
    """With the codes held fixed, in float64, the loss really has the gradient the op returns."""
    result = residual_quantize(z, codebook, 4)
    loss = result.residual_sq_norms.mean() / 17  # commitment over cumulative levels
    loss.backward()
    step = 1e-4 * torch.randn(z.shape, dtype=torch.float64)

    def commitment(shift):
        return residuals(z.detach().double() + shift, codebook, result.codes).square().mean()

    torch.testing.assert_close(loss.double(), commitment(0), rtol=1e-6, atol=0)
    slope = commitment(step) - commitment(-step)
    torch.testing.assert_close((2 * step * z.grad).sum(), slope, rtol=1e-4, atol=0)


def test_both_at_once_and_bit_for_bit(z, codebook):
    grads = []
    for impl in ("native", "reference"):
        result = residual_quantize(z, codebook, 4, impl=impl)
        loss = (result.quantized**2).sum() + (result.residual_sq_norms**2).sum()
        grads.append(torch.autograd.grad(loss, z)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(z, codebook, dtype):
    half = z.detach().to(dtype).requires_grad_()
    result = residual_quantize(half, codebook, 4)
    result.residual_sq_norms[..., -1].sum().backward()
    assert half.grad.dtype == dtype
    expected = 2 * residuals(half, codebook, result.codes)[..., -1, :]
    torch.testing.assert_close(half.grad, expected.to(dtype), rtol=1e-2, atol=1e-2)


def test_who_gets_a_gradient(z, codebook):
    frozen = FrozenCodebook(codebook, 4)
    result = residual_quantize(z, frozen)
    assert not result.codes.requires_grad
    assert result.quantized.requires_grad
    assert not frozen.tensor.requires_grad
    with torch.no_grad():
        assert not residual_quantize(z, frozen).quantized.requires_grad
    assert not residual_quantize(z.detach(), frozen).quantized.requires_grad


def test_empty_batch(codebook):
    z = torch.zeros(0, 17, requires_grad=True)
    result = residual_quantize(z, codebook, 4)
    (result.quantized.sum() + result.residual_sq_norms.sum()).backward()
    assert z.grad is not None
    assert z.grad.shape == (0, 17)
