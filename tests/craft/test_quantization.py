"""craft.quantize and the commitment loss, compared with their formulas."""

import pytest
import torch

import craft
from craft import Codebook
from craft_kernels import FrozenCodebook


@pytest.fixture
def codebook():
    return Codebook(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), levels=4)


@pytest.fixture
def z():
    generator = torch.Generator().manual_seed(1)
    return (2 * torch.randn(3, 10, 8, generator=generator)).requires_grad_()


def test_accepts_every_form_of_codebook(codebook, z):
    expected = craft.quantize(z, codebook)
    assert expected.codes.shape == (3, 10, 4)
    for form in (codebook.table, codebook.on(z.device), FrozenCodebook(codebook.table)):
        found = craft.quantize(z, form, 4)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


def test_quantized_is_the_lookup_of_the_codes(codebook, z):
    found = craft.quantize(z, codebook)
    assert torch.equal(found.quantized, codebook.lookup(found.codes))
    assert torch.equal(craft.quantize(z, codebook, 2).codes, found.codes[..., :2])


def test_gradient_is_straight_through(codebook, z):
    upstream = torch.randn(3, 10, 8)
    craft.quantize(z, codebook).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)
    assert not codebook.table.requires_grad


@pytest.mark.parametrize("levels", ["cumulative", "final"])
def test_commitment_is_the_mean_squared_error(codebook, z, levels):
    """Cumulative is the mean of the four errors VILA-U averages, in value and gradient."""
    found = craft.quantize(z, codebook)
    loss = craft.commitment(found.residual_sq_norms, z.shape[-1], levels)
    (gradient,) = torch.autograd.grad(loss, z)

    z64 = z.detach().double().requires_grad_()
    depths = range(1, 5) if levels == "cumulative" else [4]
    errors = [
        (z64 - codebook.lookup(found.codes[..., :depth]).double()).square().mean()
        for depth in depths
    ]
    expected = torch.stack(errors).mean()
    (expected_gradient,) = torch.autograd.grad(expected, z64)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-4, atol=1e-7)


def test_commitment_vanishes_on_codewords_if_zero_is_a_codeword():
    table = torch.randn(16, 4)
    table[0] = 0
    norms = craft.quantize(table, Codebook(table, 4)).residual_sq_norms
    assert craft.commitment(norms, 4).item() == 0


def test_commitment_refuses_unknown_options():
    with pytest.raises(ValueError, match="'cumulative' or 'final', got 'first'"):
        craft.commitment(torch.ones(2, 4), 8, "first")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"dim .* got 0"):
        craft.commitment(torch.ones(2, 4), 0)
