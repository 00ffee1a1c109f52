"""Measure how rounding an adapted encoder to a checkpoint's dtype changes its codes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from craft.models.vision_tower import DiscreteVisionTower


def codes_kept(
    tower: DiscreteVisionTower,
    images: Tensor,  # [n, 3, S, S] in [0, 1]
    dtype: torch.dtype,
) -> list[float]:  # L
    """Share of each level's codes that stay the same when weights are rounded to ``dtype``.

    All else is as in :meth:`~craft.models.vision_tower.DiscreteVisionTower.encode`, so this is the
    effect of rounding alone. VILA-U also computes in that dtype, which changes more codes.
    """
    rounded = copy.deepcopy(tower)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.to(dtype))
    same = tower.encode(images).codes == rounded.encode(images).codes
    return same.flatten(0, -2).float().mean(0).tolist()
