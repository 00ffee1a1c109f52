"""LDIFS: stay close to the pretrained features (Mukhoti et al., TMLR 2024; methods M2)."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craft.models.vision_tower import DiscreteVisionTower
from craft.settings.training import LdifsConfig


class FeatureAnchor:
    """The frozen pretrained encoder, and the distance of the training one from it.

    R = mean over depths of d(Phi_l(theta; x), Phi_l(theta_0; x)), on the same augmented images.
    Depths are the embeddings and blocks spread evenly up to the read-out.
    """

    def __init__(self, tower: DiscreteVisionTower, config: LdifsConfig):
        self.config = config
        self.teacher = copy.deepcopy(tower).eval().requires_grad_(False)
        self._student: dict[int, Tensor] = {}
        self._original: dict[int, Tensor] = {}
        self._hooks = [
            module.register_forward_hook(_remember(seen, depth))
            for model, seen in ((tower, self._student), (self.teacher, self._original))
            for depth, module in _depths(model, config.points).items()
        ]

    def release(self) -> None:
        """Remove the hooks from the encoder."""
        for hook in self._hooks:
            hook.remove()

    def distance(self, pixels: Tensor) -> Tensor:  # []
        """R, to be called after the training encoder has processed ``pixels`` [B, 3, S, S]."""
        with torch.no_grad():
            self.teacher.features(pixels)
        terms = [
            (self._unit(self._student[depth]) - self._unit(original)).square().mean()
            for depth, original in self._original.items()
        ]
        return torch.stack(terms).mean()

    def _unit(self, features: Tensor) -> Tensor:  # [B, N, D]
        axis = {"token": 1, "channel": 2, "none": None}[self.config.norm]
        if axis is None:
            return features.float()
        return F.normalize(features.float(), dim=axis, eps=1e-10)


def _depths(tower: DiscreteVisionTower, points: int) -> dict[int, nn.Module]:
    """Modules by depth: 0 is the embeddings, n the n-th block.

    For 23 blocks and five points the depths are 0, 6, 12, 18 and 23.
    """
    modules: list[nn.Module] = [tower.embeddings, *tower.blocks]
    last = len(modules) - 1
    chosen = {math.ceil(i * last / max(points - 1, 1)) for i in range(points)}
    return {depth: modules[depth] for depth in sorted(chosen)}


def _remember(seen: dict[int, Tensor], depth: int) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen[depth] = output

    return hook
