"""The usual augmentation of few-shot recipes: a random crop, possibly mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random rectangle of each image and resample it to ``size`` (Szegedy et al., 2015).

    Args:
        size: side of the output.
        area: smallest and largest fraction of the image's area.
        ratio: smallest and largest aspect ratio (width / height), drawn log-uniformly.
        flip: probability of mirroring left to right; 0 where that changes the class, as with
            characters and flags.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __call__(
        self,
        images: Tensor,  # [b, 3, H, W] in [0, 1]
        generator: torch.Generator,
    ) -> Tensor:  # [b, 3, size, size] in [0, 1]
        cropped = [
            F.interpolate(
                image[None, :, top : top + height, left : left + width],
                (self.size, self.size),
                mode="bicubic",
                antialias=True,
            )
            for image in images
            for top, left, height, width in [self._rectangle(image, generator)]
        ]
        out = torch.cat(cropped).clamp(0, 1)
        mirrored = torch.rand(len(out), generator=generator) < self.flip
        return torch.where(mirrored.view(-1, 1, 1, 1).to(out.device), out.flip(-1), out)

    def _rectangle(self, image: Tensor, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Draw top, left, height and width; the largest central square if ten draws do not fit."""
        height, width = image.shape[-2:]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            draws = torch.rand(4, generator=generator).tolist()
            area = height * width * (self.area[0] + draws[0] * (self.area[1] - self.area[0]))
            ratio = math.exp(low + draws[1] * (high - low))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(draws[2] * (height - h + 1)), int(draws[3] * (width - w + 1))
                return top, left, h, w
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side
