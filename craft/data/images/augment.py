"""Batched image augmentation in plain torch: geometry, light and drawing style."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of images. Probabilities are per image; amplitudes are drawn uniformly.

    Args:
        rotation: largest rotation in degrees.
        scale: smallest and largest zoom; below 1 the image shrinks and is padded with its border.
        shift: largest translation as a fraction of the side.
        shear: largest shear in degrees.
        brightness, contrast: largest change as a fraction.
        grey, invert, outline, thicken, blur: probability that an image is converted to grey, to its
            negative or to its outlines, has its dark strokes widened or thinned, or is blurred.
    """

    rotation: float = 12.0
    scale: tuple[float, float] = (0.75, 1.1)
    shift: float = 0.08
    shear: float = 8.0
    brightness: float = 0.2
    contrast: float = 0.3
    grey: float = 0.0
    invert: float = 0.0
    outline: float = 0.0
    thicken: float = 0.0
    blur: float = 0.0

    def __call__(
        self,
        images: Tensor,  # [B, 3, S, S] in [0, 1]
        size: int,
        generator: torch.Generator,
        part: slice = slice(None),
        total: int | None = None,
    ) -> Tensor:  # [B, 3, size, size] in [0, 1]
        """Augment a batch and resample it to ``size``.

        Args:
            generator: the source of all random numbers.
            part: the position of these images in a larger batch of ``total`` images. Random numbers
                are drawn for the larger batch, so augmenting its parts separately gives the same
                images as augmenting it at once.
        """
        draw = _Draws(generator, part, len(images) if total is None else total)
        images = _warp(images, size, self, draw)
        changes: tuple[tuple[float, Callable[[_Draws], Callable[[Tensor], Tensor]]], ...] = (
            (self.outline, lambda _: outlines),
            (self.thicken, _stroke),
            (self.grey, lambda _: grey),
            (self.blur, lambda _: _blur),
            (self.invert, lambda _: lambda x: 1 - x),
        )
        for probability, change in changes:
            if probability > 0:
                chosen = torch.rand(draw.total, generator=generator) < probability
                if chosen.any():
                    apply = change(draw)
                    rows = chosen[part].nonzero().squeeze(1)
                    if len(rows):
                        rows = rows.to(images.device)
                        images = images.index_copy(0, rows, apply(images[rows]))
        return _photometric(images, self.brightness, self.contrast, draw)


class _Draws(NamedTuple):
    """Random numbers drawn for a whole batch, of which one part is used."""

    generator: torch.Generator
    part: slice
    total: int

    def uniform(self, low: float, high: float, each: int = 1) -> Tensor:  # [B] or [B, each]
        numbers = torch.rand(each * self.total, generator=self.generator) * (high - low) + low
        return numbers.view(self.total, *([each] if each > 1 else []))[self.part]


def _warp(images: Tensor, size: int, a: Augmentation, draw: _Draws) -> Tensor:
    """Rotate, shear, zoom, shift and resize with a single affine resampling."""
    n = len(images)
    angle = draw.uniform(-a.rotation, a.rotation) * (math.pi / 180)
    shear = draw.uniform(-a.shear, a.shear) * (math.pi / 180)
    zoom = 1 / draw.uniform(*a.scale)
    cos, sin, tan = angle.cos() * zoom, angle.sin() * zoom, shear.tan()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos, cos * tan - sin
    theta[:, 1, 0], theta[:, 1, 1] = sin, sin * tan + cos
    theta[:, :, 2] = draw.uniform(-2 * a.shift, 2 * a.shift, each=2)
    theta = theta.to(images.device)
    # F.affine_grid is a matrix product, whose rounding depends on the batch size.
    centres = (2 * torch.arange(size, device=images.device) + 1) / size - 1
    along_x, along_y, shift = theta[:, None, None].unbind(-1)  # each [B, 1, 1, 2]
    grid = along_x * centres[:, None] + along_y * centres[:, None, None] + shift
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """Squash images to ``size`` for evaluation, without augmentation, as VILA-U does.

    Sampling is that of the augmentation's warp, with antialiasing only where that would skip
    pixels.
    """
    if images.shape[-2:] == (size, size):
        return images
    skips = max(images.shape[-2:]) > 2 * size
    return F.interpolate(images, (size, size), mode="bilinear", antialias=skips)


def grey(images: Tensor) -> Tensor:
    """Replace all three channels by luma."""
    weights = images.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def outlines(images: Tensor) -> Tensor:
    """Draw dark lines on white where colour changes, like the line art of a coloured drawing."""
    dx = F.pad(images[..., :, 1:] - images[..., :, :-1], (0, 1, 0, 0))
    dy = F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))
    edge = (dx.abs() + dy.abs()).amax(1, keepdim=True)
    return (1 - (3 * edge).clamp(max=1)).expand_as(images)


def _stroke(draw: _Draws) -> Callable[[Tensor], Tensor]:
    """Widen or thin the dark strokes by one pixel; the choice is drawn once per batch."""
    if torch.rand((), generator=draw.generator) < 0.6:
        return lambda images: -F.max_pool2d(-images, 3, 1, 1)
    return lambda images: F.max_pool2d(images, 3, 1, 1)


def _blur(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def _photometric(images: Tensor, brightness: float, contrast: float, draw: _Draws) -> Tensor:
    gain = 1 + draw.uniform(-contrast, contrast).view(-1, 1, 1, 1)
    offset = draw.uniform(-brightness, brightness).view(-1, 1, 1, 1)
    gain, offset = gain.to(images.device), offset.to(images.device)
    return ((images - 0.5) * gain + 0.5 + offset).clamp(0, 1)
