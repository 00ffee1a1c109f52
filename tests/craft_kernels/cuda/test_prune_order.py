"""What each GPU thread does with its token gives the order of the CPU kernel, bit for bit."""

import pytest
import torch

from craft_kernels import prune_order
from craft_kernels.prune import cuda
from tests.craft_kernels.test_prune_order import random_case


def test_random_images(on_host):
    for seed in range(400):
        ids, residual_sq, prior, grid, options = random_case(seed)
        expected = prune_order(ids, residual_sq, prior, grid, **options)
        got = cuda.prune_order(ids, residual_sq, prior, grid, **options)
        assert torch.equal(got, expected), seed


@pytest.mark.parametrize("side", [16, 27])
@pytest.mark.parametrize("weight", [0.3, 0.5])
def test_images_of_real_size(on_host, side, weight, generator):
    ids = torch.randint(0, 60, (20, side * side), generator=generator)
    ids[0] = 7  # one ID alone, and IDs of which two tokens lie far from each other
    ids[1] = torch.arange(side * side) % (side * side - 3)
    residual_sq = torch.rand(ids.shape, generator=generator)
    prior = torch.rand(1000, generator=generator) + 1e-3
    arguments = (ids, residual_sq, prior, (side, side), 4, weight)
    expected = prune_order(*arguments[:4], isolation_weight=weight)
    assert torch.equal(cuda.prune_order(*arguments), expected)


def test_strides_and_empty_batch(on_host, generator):
    ids = torch.randint(0, 5, (12, 6), generator=generator).t()
    residual_sq, prior = torch.rand(12, 6, generator=generator).t(), torch.rand(5) + 0.1
    expected = prune_order(ids, residual_sq, prior, (3, 4))
    assert torch.equal(cuda.prune_order(ids, residual_sq, prior, (3, 4), 4, 0.5), expected)
    empty = ids[:0]
    assert cuda.prune_order(empty, residual_sq[:0], prior, (3, 4), 4, 0.5).shape == (0, 12)
