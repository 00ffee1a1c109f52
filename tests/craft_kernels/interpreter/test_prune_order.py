"""The Triton kernels give the CPU kernel's order, bit for bit."""

import pytest
import torch

from craft_kernels import prune_order
from craft_kernels.prune import tables
from tests.craft_kernels import test_prune_order as plain


def check(ids, residual_sq, prior, grid, **options):
    found = prune_order(ids, residual_sq, prior, grid, impl="triton", **options)
    assert torch.equal(found, prune_order(ids, residual_sq, prior, grid, impl="native", **options))


@pytest.mark.parametrize("seed", range(42))
def test_random_images(seed):
    ids, residual_sq, prior, grid, options = plain.random_case(seed, batch=12, side=7)
    check(ids, residual_sq, prior, grid, **options)


@pytest.mark.parametrize("side", [16, 27])
def test_real_sizes(side):
    g = torch.Generator().manual_seed(side)
    count = side * side
    ids = (60 * torch.rand(6 if side == 16 else 2, count, generator=g) ** 2).long()
    prior = torch.rand(60, generator=g) + 1e-3
    check(ids, torch.rand(ids.shape, generator=g), prior, (side, side))
    coarse = torch.randint(0, 3, ids.shape, generator=g).float()
    check(ids, coarse, prior, (side, side), isolation_weight=0.3)


def test_tiles_of_a_gpu(monkeypatch):
    """Several programs per image and several tiles per program, as on a GPU."""
    monkeypatch.setattr("craft_kernels.prune.triton.launch.current_target", lambda: ("cuda", 90))
    ids = torch.randint(0, 9, (1, 150), generator=torch.Generator().manual_seed(0))
    residual_sq = torch.rand(1, 150, generator=torch.Generator().manual_seed(1))
    check(ids, residual_sq, torch.rand(9) + 0.01, (10, 15))


def test_golden_case():
    order = prune_order(
        plain.GOLDEN_IDS, torch.rand(1, 8), plain.GOLDEN_PRIOR, (2, 4), impl="triton"
    )
    for kept, quotas in [(8, [5, 2, 1]), (6, [3, 2, 1]), (3, [1, 1, 1]), (2, [0, 1, 1])]:
        assert plain.kept_counts(plain.GOLDEN_IDS, order, kept, 3).tolist() == [quotas]


def test_logarithms_are_those_of_the_table():
    """Every image has one token of each ID, so the order is that of the priors."""
    g = torch.Generator().manual_seed(0)
    prior = torch.exp(60 * torch.randn(500, generator=g)).clamp(1e-45, 3e38)
    prior[:100] = 1 + torch.arange(100) * 2.0**-23
    ids = torch.arange(500)[None]
    order = prune_order(ids, torch.zeros(1, 500), prior, (20, 25), impl="triton")
    assert torch.equal(order[0], tables.fixed_log(prior).argsort(stable=True))


def test_empty_batch():
    none = torch.empty(0, 6, dtype=torch.int64)
    assert prune_order(none, torch.empty(0, 6), torch.ones(2), (2, 3), impl="triton").shape == (
        0,
        6,
    )
