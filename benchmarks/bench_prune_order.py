"""Latency of the pruning order beside a random permutation, the cheapest selection there is.

Run with pytest --benchmark-group-by=param:tokens,param:batch.
"""

import pytest
import torch

from craft_kernels import prune_order

CODES = 16384
SIDES = {256: 16, 729: 27}


def images(batch: int, tokens: int, kind: str):
    """ "typical": about half as many IDs as tokens, a few of them large; "one_id": just one."""
    torch.manual_seed(0)
    ids = (torch.rand(batch, tokens) ** 3 * 0.7 * tokens).long()
    if kind == "one_id":
        ids.zero_()
    return ids, torch.rand(batch, tokens), torch.rand(CODES) + 1e-4


@pytest.mark.parametrize("kind", ["typical", "one_id"])
@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("tokens", [256, 729])
def test_native(benchmark, tokens, batch, kind):
    arguments = images(batch, tokens, kind)
    grid = (SIDES[tokens], SIDES[tokens])
    order = benchmark(prune_order, *arguments, grid, impl="native")
    assert torch.equal(order[:1], prune_order(*images(batch, tokens, kind), grid)[:1])


@pytest.mark.parametrize("batch", [1])
@pytest.mark.parametrize("tokens", [256])
def test_reference(benchmark, tokens, batch):
    arguments = images(batch, tokens, "typical")
    benchmark(prune_order, *arguments, (SIDES[tokens], SIDES[tokens]), impl="reference")


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("tokens", [256, 729])
def test_random_permutation(benchmark, tokens, batch):
    """What random pruning costs: torch sorts random numbers."""
    benchmark(lambda: torch.rand(batch, tokens).argsort(dim=1))
