"""Pictures of an image's codes and kept patches."""

from __future__ import annotations

import colorsys

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 144


_GOLDEN = 0.618033988749895


def dim_pruned(
    image: Tensor,  # [3, S, S] in [0, 1]
    kept: Tensor,  # [H, W] bool
) -> Tensor:
    """Cover the pruned patches of an image with a pale red veil, which is visible on white too."""
    mask = F.interpolate(kept[None, None].float(), image.shape[-2:], mode="nearest")[0]
    veil = torch.tensor([0.93, 0.72, 0.70]).view(3, 1, 1)
    return image * mask + (0.2 * image + 0.8 * veil) * (1 - mask)


def code_map(codes: Tensor) -> Tensor:  # [H, W] int64 -> [3, S, S] in [0, 1]
    """Draw each code in a colour of its own."""
    colours = [
        colorsys.hsv_to_rgb(code * _GOLDEN % 1, 0.35 + code % 3 * 0.2, 0.95)
        for code in codes.flatten().tolist()
    ]
    picture = torch.tensor(colours).T.unflatten(1, codes.shape)
    return F.interpolate(picture[None], (_SIDE, _SIDE), mode="nearest")[0]
