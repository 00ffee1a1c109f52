"""Batched image augmentation in plain torch: geometry, light, and how a drawing is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied. Probabilities are per image; amplitudes are uniform ranges.

    Args:
        rotation: largest rotation, degrees.
        scale: smallest and largest zoom; below 1 the image shrinks and its border colour fills in.
        shift: largest translation, fraction of the side.
        shear: largest shear, degrees.
        brightness, contrast: largest change, as a fraction.
        grey, invert, outline, thicken, blur: probability that an image is turned to grey, to its
            negative, to its outlines, has its dark strokes widened or thinned, or is blurred.
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
    ) -> Tensor:  # [B, 3, size, size] in [0, 1]
        """Augment a batch and resample it to ``size``; ``generator`` gives every random draw."""
        images = _warp(images, size, self, generator)
        for probability, change in (
            (self.outline, outlines),
            (self.thicken, lambda x: _stroke(x, generator)),
            (self.grey, grey),
            (self.blur, _blur),
            (self.invert, lambda x: 1 - x),
        ):
            if probability > 0:
                draw = torch.rand(len(images), generator=generator)
                rows = (draw < probability).nonzero().squeeze(1)
                if len(rows):
                    images = images.index_copy(0, rows, change(images[rows]))
        return _photometric(images, self.brightness, self.contrast, generator)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _warp(images: Tensor, size: int, a: Augmentation, generator: torch.Generator) -> Tensor:
    """One affine resampling does rotation, shear, zoom, shift and the change of size."""
    n = len(images)
    angle = _uniform(n, -a.rotation, a.rotation, generator) * (math.pi / 180)
    shear = _uniform(n, -a.shear, a.shear, generator) * (math.pi / 180)
    zoom = 1 / _uniform(n, *a.scale, generator)
    cos, sin, tan = angle.cos() * zoom, angle.sin() * zoom, shear.tan()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos, cos * tan - sin
    theta[:, 1, 0], theta[:, 1, 1] = sin, sin * tan + cos
    theta[:, :, 2] = _uniform(2 * n, -2 * a.shift, 2 * a.shift, generator).view(n, 2)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """The evaluation view: squashed to ``size`` without any change of look (VILA-U does the same).

    It samples as the augmentation's warp does, and averages only where that would skip pixels.
    """
    if images.shape[-2:] == (size, size):
        return images
    skips = max(images.shape[-2:]) > 2 * size
    return F.interpolate(images, (size, size), mode="bilinear", antialias=skips)


def grey(images: Tensor) -> Tensor:
    """Luma in all three channels."""
    weights = images.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def outlines(images: Tensor) -> Tensor:
    """Dark lines on white where colour changes: what line art keeps of a coloured drawing."""
    dx = F.pad(images[..., :, 1:] - images[..., :, :-1], (0, 1, 0, 0))
    dy = F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))
    edge = (dx.abs() + dy.abs()).amax(1, keepdim=True)
    return (1 - (3 * edge).clamp(max=1)).expand_as(images)


def _stroke(images: Tensor, generator: torch.Generator) -> Tensor:
    """Widen (or thin) the dark strokes by one pixel; which of the two is drawn once a batch."""
    if torch.rand((), generator=generator) < 0.6:
        return -F.max_pool2d(-images, 3, 1, 1)
    return F.max_pool2d(images, 3, 1, 1)


def _blur(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def _photometric(
    images: Tensor, brightness: float, contrast: float, generator: torch.Generator
) -> Tensor:
    n = len(images)
    gain = 1 + _uniform(n, -contrast, contrast, generator).view(-1, 1, 1, 1)
    offset = _uniform(n, -brightness, brightness, generator).view(-1, 1, 1, 1)
    return ((images - 0.5) * gain + 0.5 + offset).clamp(0, 1)
