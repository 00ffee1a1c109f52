"""Con-ViCrop: the window of the original image that contains the evidence.

We know only at third hand that the window spans at most half of each side and never less than the
encoder's minimum; no source we found says exactly where it is placed (docs/laser.md).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craft.decoding.evidence import strongest_cells
from craft.settings.laser import LaserSettings


class Box(NamedTuple):
    """Pixels of an image; right and bottom are just outside, as in Pillow."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


def whole(size: tuple[int, int]) -> Box:
    """The box of an image of this width and height."""
    return Box(0, 0, *size)


def place_crop(
    evidence: Tensor,  # [h, w], not negative, not all zero
    view: Box,
    settings: LaserSettings,
) -> Box | None:
    """The window to crop, in pixels of the original; None if it would be the whole view.

    Args:
        view: the part of the original that the encoder sees and the map covers.
    """
    size = view.size
    limits = _limits(size, settings)
    if limits == size:
        return None
    rows, columns = evidence.shape
    # Edges of the cells in pixels of the view. Halves are exact, so they round the same everywhere;
    # linspace's steps are computed in ways that differ between processors.
    x = torch.arange(columns + 1, dtype=torch.float64) * size[0] / columns
    y = torch.arange(rows + 1, dtype=torch.float64) * size[1] / rows
    mass = evidence.double().cpu()
    if settings.placement == "topk_box":
        window = _box_around(strongest_cells(mass, settings.k_patch), x, y, limits, settings)
    elif settings.placement == "centroid":
        window = _centred(_centroid(mass, x, y), limits, size)
    else:
        window = _best_window(mass, x, y, limits)
    left, top, right, bottom = window
    return Box(view.left + left, view.top + top, view.left + right, view.top + bottom)


def _limits(size: tuple[int, int], settings: LaserSettings) -> tuple[int, int]:
    """At most ``max_frac`` of each side, but never below ``min_side`` pixels of it."""
    width, height = (
        min(length, max(round(settings.max_frac * length), settings.min_side)) for length in size
    )
    return width, height


def _box_around(
    cells: Tensor,  # [h, w] bool
    x: Tensor,  # [w + 1]
    y: Tensor,  # [h + 1]
    limits: tuple[int, int],
    settings: LaserSettings,
) -> Box:
    """The bounding box of the cells, grown or shrunk about its centre to the allowed size."""
    places = cells.nonzero()
    (top, left), (bottom, right) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
    size = round(float(x[-1])), round(float(y[-1]))
    least = min(settings.min_side, size[0]), min(settings.min_side, size[1])
    width = min(max(round(float(x[right] - x[left])), least[0]), limits[0])
    height = min(max(round(float(y[bottom] - y[top])), least[1]), limits[1])
    middle = float(x[left] + x[right]) / 2, float(y[top] + y[bottom]) / 2
    return _centred(middle, (width, height), size)


def _centroid(mass: Tensor, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Centre of mass to 1/1024 of a pixel, so that noise cannot affect the rounding of halves."""
    total = mass.sum()
    across, down = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    places = mass.sum(0) @ across / total, mass.sum(1) @ down / total
    column, row = (round(float(place) * 1024) / 1024 for place in places)
    return column, row


def _centred(middle: tuple[float, float], sides: tuple[int, int], size: tuple[int, int]) -> Box:
    """A window around ``middle``, clamped to the image."""
    left, top = (
        min(max(round(centre - side / 2), 0), length - side)
        for centre, side, length in zip(middle, sides, size, strict=True)
    )
    return Box(left, top, left + sides[0], top + sides[1])


def _best_window(
    mass: Tensor,  # [h, w] float64
    x: Tensor,  # [w + 1]
    y: Tensor,  # [h + 1]
    sides: tuple[int, int],
) -> Box:
    """The window with the most evidence among those that start at a cell, clamped to the view.

    Ties go to the window nearest to the centroid.
    """
    width, height = sides
    lefts = x[:-1].round().clamp(max=float(x[-1]) - width).unique()
    tops = y[:-1].round().clamp(max=float(y[-1]) - height).unique()
    # A cell's evidence is spread evenly over its pixels, so the sum over any window is exact.
    table = F.pad(mass.cumsum(0).cumsum(1), (1, 0, 1, 0))
    across = _between(lefts + width, x) - _between(lefts, x)
    down = _between(tops + height, y) - _between(tops, y)
    sums = down @ table @ across.T  # [tops, lefts]
    middle = _centroid(mass, x, y)
    off_x, off_y = lefts + width / 2 - middle[0], tops + height / 2 - middle[1]
    off = off_y.square()[:, None] + off_x.square()
    # Sums that differ only by rounding are ties.
    tied = sums >= sums.max() - 1e-9 * float(mass.sum())
    nearest = off.masked_fill(~tied, torch.inf).flatten().argsort(stable=True)[0]
    row, column = divmod(int(nearest), len(lefts))
    left, top = int(lefts[column]), int(tops[row])
    return Box(left, top, left + width, top + height)


def _between(places: Tensor, edges: Tensor) -> Tensor:  # [n], [m + 1] -> [n, m + 1]
    """Linear interpolation between values at the edges, as a matrix."""
    at = (places - edges[0]) / (edges[1] - edges[0])
    return (1 - (at[:, None] - torch.arange(len(edges))).abs()).clamp(min=0)
