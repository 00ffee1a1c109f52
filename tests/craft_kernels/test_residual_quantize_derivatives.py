"""Derivatives of every order and mode, against the plain formula in float64.

The plain formula holds the codes fixed: quantized = z + stopped(sum of codewords - z), and
|r_l|^2 = |z - (c_1 + ... + c_l)|^2.
"""

import pytest
import torch
from torch.autograd import forward_ad, functional
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from craft_kernels import FrozenCodebook, prune_order, residual_quantize

# Forward mode loads parts of torch that torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

L, K, D = 3, 30, 7
impls = pytest.mark.parametrize("impl", ["native", "reference"])


@pytest.fixture(params=["shared", "separate"])
def codebook(request):
    g = torch.Generator().manual_seed(0)
    return torch.randn(*(() if request.param == "shared" else (L,)), K, D, generator=g)


@pytest.fixture
def z():
    return torch.randn(2, 3, D, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tangent():
    return torch.randn(2, 3, D, generator=torch.Generator().manual_seed(2))


def plain(z, codebook):
    total, sq_norms = torch.zeros_like(z), []
    for words in codebook.double().expand(L, K, D):
        residual = (z - total).detach()
        codes = (residual.unsqueeze(-2) - words).square().sum(-1).argmin(-1)
        total = total + words[codes]
        sq_norms.append((z - total).square().sum(-1))
    return z + (total - z).detach(), torch.stack(sq_norms, -1)


class Loss:
    """A function of both outputs whose third derivatives do not vanish: ours, and the formula's."""

    def __init__(self, codebook, impl):
        self.book, self.codebook, self.impl = FrozenCodebook(codebook, L), codebook, impl
        self.weight = torch.randn(D, generator=torch.Generator().manual_seed(3))

    def of(self, quantized, sq_norms):
        weight = self.weight.to(quantized)
        return (quantized**3 * weight).sum() + (sq_norms**2).sum() + sq_norms[..., -1].sum()

    def ours(self, z):
        found = residual_quantize(z, self.book, impl=self.impl)
        return self.of(found.quantized, found.residual_sq_norms)

    def plain(self, z):
        return self.of(*plain(z, self.codebook))

    def same(self, derive, *inputs):
        found = derive(self.ours, *inputs)
        expected = derive(self.plain, *(x.double() for x in inputs))
        assert expected.abs().max() > 0
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-3)


FORWARD = {
    "torch.func.jvp": lambda f, z, v: jvp(f, (z,), (v,))[1],
    "torch.func.jacfwd": lambda f, z, v: jacfwd(f)(z),
    "autograd.functional.jvp": lambda f, z, v: functional.jvp(f, z, v, strict=True)[1],
    "vmap of jvp": lambda f, z, v: vmap(lambda z, v: jvp(f, (z,), (v,))[1])(z, v),
    "jvp of vmap": lambda f, z, v: jvp(vmap(f), (z,), (v,))[1],
}
REVERSE = {
    "torch.func.grad": lambda f, z, v: grad(f)(z),
    "torch.func.vjp": lambda f, z, v: vjp(f, z)[1](torch.ones_like(z.sum()))[0],
    "torch.func.jacrev": lambda f, z, v: jacrev(f)(z),
    "vmap of grad": lambda f, z, v: vmap(grad(f))(z),
    "grad of vmap": lambda f, z, v: grad(lambda z: vmap(f)(z).sum())(z),
}
SECOND = {
    "autograd.functional.hessian": lambda f, z, v: functional.hessian(f, z, strict=True),
    "autograd.functional.hvp": lambda f, z, v: functional.hvp(f, z, v, strict=True)[1],
    "autograd.functional.vhp": lambda f, z, v: functional.vhp(f, z, v, strict=True)[1],
    "torch.func.hessian": lambda f, z, v: hessian(f)(z),
    "forward over reverse": lambda f, z, v: jvp(grad(f), (z,), (v,))[1],
    "reverse over forward": lambda f, z, v: grad(lambda z: jvp(f, (z,), (v,))[1])(z),
    "reverse over reverse": lambda f, z, v: grad(lambda z: (grad(f)(z) * v).sum())(z),
    "forward over forward": lambda f, z, v: jvp(lambda z: jvp(f, (z,), (v,))[1], (z,), (v,))[1],
}


def along(f, v):
    """The derivative of f in the direction v, in reverse."""
    return lambda z: (grad(f)(z) * v).sum()


THIRD = {
    "reverse three times": lambda f, z, v: grad(along(along(f, v), v))(z),
    "forward over reverse twice": lambda f, z, v: jvp(grad(along(f, v)), (z,), (v,))[1],
}


@impls
@pytest.mark.parametrize("way", [*FORWARD, *REVERSE, *SECOND, *THIRD])
def test_as_the_plain_formula(codebook, z, tangent, way, impl):
    loss = Loss(codebook, impl)
    loss.same((FORWARD | REVERSE | SECOND | THIRD)[way], z, tangent)


def tangent_of(tensor):
    return forward_ad.unpack_dual(tensor).tangent


def test_straight_through_forwards(codebook, z, tangent):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(z, tangent)
        found = residual_quantize(dual, codebook, L)
        assert tangent_of(found.codes) is None
        assert (tangent_of(found.quantized) == tangent).all()
        found.quantized.mul_(2)
        assert (tangent_of(found.quantized) == 2 * tangent).all()
        assert (tangent_of(dual) == tangent).all()
        with torch.no_grad():
            found = residual_quantize(dual, codebook, L)
        assert (tangent_of(found.quantized) == tangent).all()


def test_half_precision_forwards(codebook, z, tangent):
    half, v = z.bfloat16(), tangent.bfloat16()
    quantized, sq_norms = jvp(
        lambda z: tuple(residual_quantize(z, codebook, L)[1:]), (half,), (v,)
    )[1]
    assert quantized.dtype == torch.bfloat16
    assert torch.equal(quantized, v)
    assert sq_norms.dtype == torch.float32
    expected = jvp(lambda z: plain(z, codebook)[1], (half.double(),), (v.double(),))[1]
    torch.testing.assert_close(sq_norms.double(), expected, rtol=1e-4, atol=1e-4)


def test_double_backward_of_half_precision(codebook, z):
    half = z.bfloat16().requires_grad_()
    norms = residual_quantize(half, codebook, L).residual_sq_norms
    (first,) = torch.autograd.grad(norms.sum(), half, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), half)
    assert torch.equal(second, torch.full_like(half, 2 * L))


@pytest.mark.parametrize("in_dim", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vmap(codebook, z, in_dim, dtype):
    z = z.to(dtype)
    expected = residual_quantize(z, codebook, L)
    found = vmap(lambda z: tuple(residual_quantize(z, codebook, L)), in_dim, in_dim)(z)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_vmap_over_codebooks(z):
    books = torch.randn(4, K, D)
    found = vmap(lambda book: residual_quantize(z, book, L).codes)(books)
    both = vmap(lambda z, book: residual_quantize(z, book, L).codes)(z, books[:2])
    for i, book in enumerate(books):
        assert torch.equal(found[i], residual_quantize(z, book, L).codes)
    for i, book in enumerate(books[:2]):
        assert torch.equal(both[i], residual_quantize(z[i], book, L).codes)


def test_vmap_of_pruning():
    ids = torch.randint(0, 5, (3, 2, 12))
    residuals, prior = torch.rand(3, 2, 12), torch.rand(5) + 0.1
    found = vmap(lambda i, r: prune_order(i, r, prior, (3, 4)))(ids, residuals)
    across = vmap(lambda i: prune_order(i, residuals[0], prior, (3, 4)), 1, 1)(ids[0].unsqueeze(1))
    priors = torch.rand(4, 5) + 0.1
    by_prior = vmap(lambda p: prune_order(ids[0], residuals[0], p, (3, 4)))(priors)
    for i in range(3):
        assert torch.equal(found[i], prune_order(ids[i], residuals[i], prior, (3, 4)))
    assert torch.equal(across[:, 0], found[0])
    for i in range(4):
        assert torch.equal(by_prior[i], prune_order(ids[0], residuals[0], priors[i], (3, 4)))


def test_the_codebook_has_no_derivative_and_says_so(z):
    book = torch.randn(K, D)
    loss = lambda book: residual_quantize(z, book, L).residual_sq_norms.sum()  # noqa: E731
    for derive in (
        lambda: grad(loss)(book),
        lambda: grad(lambda book: vmap(lambda b: loss(b))(book[None]).sum())(book),
        lambda: jvp(loss, (book,), (book,)),
        lambda: functional.jvp(loss, book, book),
    ):
        with pytest.raises(ValueError, match="the codebook is frozen and never gets a gradient"):
            derive()


@impls
@pytest.mark.parametrize("shape", [(6, D), (2, 3, D)])
def test_outputs_may_be_written_to_in_place(codebook, shape, impl):
    z = torch.randn(shape).requires_grad_()
    found = residual_quantize(z, codebook, L, impl=impl)
    kept = [tensor.detach().clone() for tensor in found]
    weight = torch.randn(shape)
    found.quantized.mul_(2)
    found.residual_sq_norms.mul_(3)
    ((found.quantized * weight).sum() + 0 * found.residual_sq_norms.sum()).backward()
    assert torch.equal(found.quantized, 2 * kept[1])
    assert torch.equal(found.residual_sq_norms, 3 * kept[2])
    torch.testing.assert_close(z.grad, 2 * weight)
    with torch.no_grad():
        found = residual_quantize(z, codebook, L, impl=impl)
        found.quantized.add_(1)
        assert torch.equal(found.quantized, kept[1] + 1)


def test_written_codes_cannot_give_a_wrong_gradient(codebook, z):
    """torch itself notices that what the backward pass needs has changed."""
    found = residual_quantize(z.requires_grad_(), codebook, L)
    found.codes.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.residual_sq_norms.sum().backward()
