"""Folding blocks of patches into one vector, and back."""

import pytest
import torch

from craft.errors import CraftError
from craft.integrations.vila_u import depth_to_space, space_to_depth


@pytest.mark.parametrize("block", [(1, 1), (2, 2), (2, 1), (1, 3), (4, 6)])
def test_entries_are_where_vila_u_has_them(block):
    x = torch.arange(2 * 4 * 6 * 5).view(2, 4, 6, 5)
    rows, columns = block
    folded = space_to_depth(x, block)
    assert folded.shape == (2, 4 // rows, 6 // columns, rows * columns * 5)
    for b, i, j, d in torch.cartesian_prod(*map(torch.arange, x.shape)).tolist():
        place = ((i % rows) * columns + j % columns) * 5 + d
        assert folded[b, i // rows, j // columns, place] == x[b, i, j, d]
    assert torch.equal(depth_to_space(folded, block), x)


def test_gradients_come_back():
    x = torch.randn(1, 4, 4, 3, requires_grad=True)
    weights = torch.randn(1, 2, 2, 12)
    (space_to_depth(x, (2, 2)) * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, depth_to_space(weights, (2, 2)))


def test_grids_that_blocks_do_not_fill_are_refused():
    with pytest.raises(CraftError, match=r"H a multiple of 2 and W of 2, got \(1, 3, 4, 5\)"):
        space_to_depth(torch.zeros(1, 3, 4, 5), (2, 2))
    with pytest.raises(CraftError, match=r"E a multiple of 4, got \(1, 3, 4, 5\)"):
        depth_to_space(torch.zeros(1, 3, 4, 5), (2, 2))
    with pytest.raises(CraftError, match=r"got \(4, 4, 5\)"):
        space_to_depth(torch.zeros(4, 4, 5), (2, 2))
