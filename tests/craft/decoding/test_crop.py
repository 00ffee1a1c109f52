"""Placement of the crop, compared with a search over all windows in exact arithmetic."""

from fractions import Fraction
from typing import Any

import pytest
import torch

from craft.decoding.crop import Box, place_crop, whole
from craft.settings.laser import LaserSettings


def settings(**choices: Any) -> LaserSettings:
    return LaserSettings(min_side=8, **choices)


def exact_mass(evidence, size, box):
    """Evidence in a window, each cell's spread evenly over its pixels."""
    rows, columns = evidence.shape
    total = Fraction(0)
    for r in range(rows):
        for c in range(columns):
            cell = [Fraction(c * size[0], columns), Fraction((c + 1) * size[0], columns)]
            line = [Fraction(r * size[1], rows), Fraction((r + 1) * size[1], rows)]
            across = max(Fraction(0), min(cell[1], box.right) - max(cell[0], box.left))
            down = max(Fraction(0), min(line[1], box.bottom) - max(line[0], box.top))
            area = (cell[1] - cell[0]) * (line[1] - line[0])
            total += Fraction(float(evidence[r, c])) * across * down / area
    return total


@pytest.mark.parametrize("size", [(96, 64), (100, 70), (61, 47)])
@pytest.mark.parametrize("grid", [(4, 6), (5, 5)])
def test_the_window_has_the_most_evidence_of_those_that_start_at_a_cell(size, grid):
    evidence = torch.rand(grid, generator=torch.Generator().manual_seed(sum(size))) ** 4
    box = place_crop(evidence, whole(size), settings())
    assert box is not None
    assert box.size == (round(size[0] / 2), round(size[1] / 2))
    candidates = [
        Box(x, y, x + box.size[0], y + box.size[1])
        for y in {min(round(r * size[1] / grid[0]), size[1] - box.size[1]) for r in range(grid[0])}
        for x in {min(round(c * size[0] / grid[1]), size[0] - box.size[0]) for c in range(grid[1])}
    ]
    assert box in candidates
    best = max(exact_mass(evidence, size, other) for other in candidates)
    assert float(exact_mass(evidence, size, box)) == pytest.approx(float(best), rel=1e-12)


@pytest.mark.parametrize("placement", ["sliding", "centroid", "topk_box"])
@pytest.mark.parametrize("corner", [(0, 0), (0, 10), (9, 3), (10, 10)])
def test_the_box_contains_a_planted_block(placement, corner):
    evidence = torch.full((12, 12), 1e-6)
    row, column = corner
    evidence[row : row + 2, column : column + 2] = 1.0
    box = place_crop(evidence, whole((120, 120)), settings(placement=placement, k_patch=0.02))
    assert box is not None
    assert box.left <= 10 * column
    assert box.right >= 10 * column + 20
    assert box.top <= 10 * row
    assert box.bottom >= 10 * row + 20
    assert 0 <= box.left < box.right <= 120
    assert 0 <= box.top < box.bottom <= 120


def test_sliding_finds_one_of_two_blocks_where_the_centroid_finds_neither():
    evidence = torch.zeros(12, 12)
    evidence[1, 1], evidence[1, 10] = 1.0, 1.1
    sliding = place_crop(evidence, whole((120, 120)), settings(max_frac=0.25))
    middle = place_crop(evidence, whole((120, 120)), settings(max_frac=0.25, placement="centroid"))
    assert sliding is not None
    assert middle is not None
    assert exact_mass(evidence, (120, 120), sliding) == Fraction(float(evidence[1, 10]))
    assert exact_mass(evidence, (120, 120), middle) == 0


def test_ties_go_to_the_window_nearest_the_centroid():
    evidence = torch.zeros(8, 8)
    evidence[3:5, 3:5] = 1.0
    assert place_crop(evidence, whole((80, 80)), settings()) == Box(20, 20, 60, 60)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 800), (500, 400)),
        ((400, 300), (224, 224)),
        ((400, 200), (224, 200)),
        ((224, 224), None),
        ((60, 90), None),
    ],
)
def test_a_crop_is_half_the_image_but_never_below_the_minimum(size, expected):
    for placement in ("sliding", "centroid"):
        box = place_crop(torch.rand(6, 6), whole(size), LaserSettings(placement=placement))
        assert (box and box.size) == expected


def test_the_box_of_top_patches_stays_between_minimum_and_half():
    evidence = torch.zeros(10, 10)
    evidence[4, 4] = 1.0
    small = place_crop(evidence, whole((1000, 1000)), LaserSettings(placement="topk_box"))
    assert small is not None
    assert small.size == (224, 224)
    evidence[0, 0] = evidence[9, 9] = 0.9
    wide = place_crop(evidence, whole((1000, 1000)), LaserSettings(placement="topk_box"))
    assert wide is not None
    assert wide.size == (500, 500)


def test_the_window_stays_in_what_the_encoder_sees():
    view = Box(30, 0, 130, 100)  # the middle of an image of 160 x 100
    evidence = torch.zeros(5, 5)
    evidence[4, 4] = 1.0
    assert place_crop(evidence, view, settings()) == Box(80, 50, 130, 100)


@pytest.mark.parametrize("size", [(57, 33), (63, 45)])
def test_symmetric_evidence_gives_the_same_crop_for_any_rounding(size):
    """Two equal cells are symmetric about the middle, where the window's edge falls on a half."""
    generator = torch.Generator().manual_seed(0)
    boxes = set()
    for _ in range(60):
        evidence = torch.zeros(5, 5)
        evidence[0, 1] = evidence[0, 3] = torch.rand((), generator=generator)
        boxes.add(place_crop(evidence, whole(size), settings(placement="centroid")))
    assert len(boxes) == 1
