"""The counterfactual image: the original without its evidence."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from craft.decoding.crop import Box
from craft.errors import CraftError
from craft.settings.laser import MaskMode


def hide_cells(
    image: Image.Image,
    cells: Tensor,  # [h, w] bool
    mode: MaskMode,
    view: Box,
    mean_color: tuple[int, int, int],
) -> Image.Image:
    """The image with these cells filled with the mean colour or black, or blurred.

    Args:
        view: the part of the image that the cells cover.
        mean_color: of the encoder's normalisation, 0 to 255.

    Raises:
        CraftError: the mode is "token_drop", which does not change the image.
    """
    if mode == "token_drop":
        raise CraftError(
            "mask_mode 'token_drop' deletes visual tokens instead of hiding pixels; choose another"
        )
    hidden = Image.new("1", image.size)
    draw = ImageDraw.Draw(hidden)
    for left, top, right, bottom in cell_boxes(cells, view):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=1)
    if mode == "blur":
        cell = view.size[0] / cells.shape[1], view.size[1] / cells.shape[0]
        radius = max(cell)  # so that a cell's surroundings reach all of it
        cover = image.filter(ImageFilter.GaussianBlur(radius))
    else:
        cover = Image.new("RGB", image.size, mean_color if mode == "pixel_mean" else (0, 0, 0))
    return Image.composite(cover, image, hidden)


def cell_boxes(cells: Tensor, view: Box) -> list[Box]:
    """The pixels of each chosen cell of a grid [h, w] over ``view``; neighbours share an edge."""
    rows, columns = cells.shape
    width, height = view.size
    return [
        Box(
            view.left + round(column * width / columns),
            view.top + round(row * height / rows),
            view.left + round((column + 1) * width / columns),
            view.top + round((row + 1) * height / rows),
        )
        for row, column in cells.nonzero().tolist()
    ]


def cells_within(
    cells: Tensor,  # [h, w] bool, over ``view``
    view: Box,
    window: Box,
    grid: tuple[int, int],
) -> Tensor:  # [rows, columns] bool
    """Which cells of a grid over ``window`` have their centres in chosen cells of ``view``."""
    rows, columns = grid
    width, height = window.size
    x = window.left + (torch.arange(columns, device=cells.device) + 0.5) * width / columns
    y = window.top + (torch.arange(rows, device=cells.device) + 0.5) * height / rows
    column = ((x - view.left) / view.size[0] * cells.shape[1]).floor().long()
    row = ((y - view.top) / view.size[1] * cells.shape[0]).floor().long()
    inside = ((column >= 0) & (column < cells.shape[1]))[None] & (
        (row >= 0) & (row < cells.shape[0])
    )[:, None]
    found = cells[row.clamp(0, cells.shape[0] - 1)][:, column.clamp(0, cells.shape[1] - 1)]
    return found & inside
