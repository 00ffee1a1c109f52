"""The perturbation of products: small, in every product, repeatable, and gone afterwards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.perturbed_products import perturb, rounded_otherwise, rounding


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def products() -> dict[str, Tensor]:
    x, w, b = draw(6, 16).requires_grad_(), draw(5, 16, seed=1), draw(5, seed=2)
    heads = draw(2, 3, 7, 8, seed=3).requires_grad_()
    image = draw(2, 3, 12, 12, seed=4).requires_grad_()
    found = {
        "linear": F.linear(x, w, b),
        "without bias": F.linear(x, w),
        "matmul": heads @ heads.transpose(2, 3),
        "einsum": torch.einsum("bhqd,bhkd->bhqk", heads, heads),
        "vector": x @ w[0],
        "dot": b @ b,
        "out": torch.mm(x.detach(), w.T, out=torch.empty(6, 5)),
        "attention": F.scaled_dot_product_attention(heads, heads, heads),
        "convolution": F.conv2d(image, draw(4, 3, 4, 4, seed=5), stride=4),
    }
    loss = torch.stack([value.sum() for value in found.values()]).sum()
    gradients = torch.autograd.grad(loss, [x, heads, image])
    return found | dict(zip(("dx", "dheads", "dimage"), gradients, strict=True))


def test_every_product_is_perturbed_a_little_and_each_time_alike() -> None:
    before = products()
    with rounded_otherwise(1):
        first, again = products(), products()
    with rounded_otherwise(2):
        other = products()
    for name, expected in before.items():
        off = (first[name] - expected).abs().max()
        assert 0 < off <= 2**-18 * expected.abs().max(), name
        assert torch.equal(first[name], again[name])
        assert expected.ndim == 0 or not torch.equal(first[name], other[name])
        assert torch.equal(products()[name], expected)


def test_equal_rows_are_rounded_apart() -> None:
    with rounded_otherwise(1):
        rows = torch.ones(64, 8) @ torch.ones(8, 8)
    assert len(rows.unique(dim=0)) > 32
    assert set(rows.unique().tolist()) == {8 * (1 - 2**-22), 8 * (1 + 2**-22)}


@pytest.mark.parametrize(
    ("dtype", "step"), [(torch.float32, 2.0**-22), (torch.float64, 2.0**-51), (torch.bfloat16, 0)]
)
def test_the_step_is_two_units_of_the_last_place(dtype: torch.dtype, step: float) -> None:
    ones = torch.ones(1000, dtype=dtype)
    perturb(ones, seed=3)
    assert set(ones.unique().tolist()) == {1 - step, 1 + step}
    if step:
        assert 400 < (ones > 1).sum() < 600


def test_rounding_is_how_far_results_are_set_apart() -> None:
    x = draw(1, 100)
    allowed = rounding(lambda: x @ torch.ones(100, 1))
    assert allowed == pytest.approx(10 * 2**-22 * abs(float(x.sum())), rel=0.3)
