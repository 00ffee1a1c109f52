"""The counterfactual image hides the chosen cells and nothing else."""

import pytest
import torch
from PIL import Image

from craft.decoding.crop import Box, whole
from craft.decoding.masking import cell_boxes, cells_within, hide_cells
from tests.craft.decoding.tiny_vlms import picture


def pixels(image):
    return torch.tensor(list(image.convert("RGB").tobytes())).view(image.height, image.width, 3)


@pytest.mark.parametrize("mode", ["pixel_mean", "pixel_zero", "blur"])
def test_only_the_cells_change(mode):
    image = picture(60, 40)
    cells = torch.zeros(4, 5, dtype=torch.bool)
    cells[1, 2] = cells[3, 4] = True
    hidden = pixels(hide_cells(image, cells, mode, whole(image.size), (10, 20, 30)))
    inside = torch.zeros(40, 60, dtype=torch.bool)
    inside[10:20, 24:36] = inside[30:40, 48:60] = True
    assert torch.equal(hidden[~inside], pixels(image)[~inside])
    if mode == "blur":
        assert hidden[inside].double().std(0).max() < pixels(image)[inside].double().std(0).min()
    else:
        assert (hidden[inside] == torch.tensor([10, 20, 30] if mode == "pixel_mean" else 0)).all()


def test_all_cells_cover_the_view_exactly():
    view = Box(7, 3, 60, 40)  # 53 x 37 pixels do not divide by 5 and 4
    image = Image.new("RGB", (64, 48), "white")
    hidden = pixels(hide_cells(image, torch.ones(4, 5).bool(), "pixel_zero", view, (0, 0, 0)))
    black = torch.zeros(48, 64, dtype=torch.bool)
    black[3:40, 7:60] = True
    assert torch.equal((hidden == 0).all(-1), black)
    boxes = cell_boxes(torch.ones(4, 5).bool(), view)
    assert sum(b.size[0] * b.size[1] for b in boxes) == 53 * 37


def test_cells_of_a_crop_under_hidden_cells():
    cells = torch.zeros(4, 4, dtype=torch.bool)
    cells[1, 1] = True
    view = Box(0, 0, 80, 80)
    assert torch.equal(cells_within(cells, view, view, (4, 4)), cells)
    # The crop starts in the middle of the hidden cell, which then covers one of its 2 x 2 quarters.
    within = cells_within(cells, view, Box(30, 30, 50, 50), (2, 2))
    assert within.tolist() == [[True, False], [False, False]]
    assert cells_within(cells, view, Box(20, 20, 40, 40), (3, 3)).all()
    assert not cells_within(cells, Box(0, 0, 40, 40), Box(40, 40, 80, 80), (4, 4)).any()


def test_dropping_tokens_hides_no_pixels():
    with pytest.raises(ValueError, match="token_drop"):
        hide_cells(picture(8, 8), torch.ones(1, 1).bool(), "token_drop", Box(0, 0, 8, 8), (0, 0, 0))
