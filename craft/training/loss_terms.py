"""The loss terms of a step, computed part by part."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from craft.errors import CraftError
from craft.quantization import commitment, quantize
from craft.settings.methods import Recipe
from craft.settings.training import CraftConfig
from craft.training.distributed.strategy import Strategy
from craft.training.ldifs import FeatureAnchor
from craft.training.micro_batches import MicroBatch

#: Relative quantisation error, which is reported beside the loss terms but is not one.
ERROR = "qerr"


class LossTerms:
    """Loss terms that do not depend on how the batch is divided.

    Each part of a step counts by its share of the images or, in the answer loss, of the answer
    tokens of all processes.

    Args:
        lambda_con: weight of the contrastive loss.
        anchor: LDIFS's distance from the pretrained features, if the method uses it.
    """

    def __init__(
        self,
        config: CraftConfig,
        recipe: Recipe,
        strategy: Strategy,
        lambda_con: float,
        anchor: FeatureAnchor | None,
    ):
        self.config = config
        self.recipe = recipe
        self.strategy = strategy
        self.lambda_con = lambda_con
        self.anchor = anchor
        self._codebook = strategy.passed.tower.codebook

    def of(
        self, part: MicroBatch, tokens: float | Tensor, model: Any = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The loss terms of a part, and its quantisation error.

        Summing them over parts and averaging over processes gives the step's.

        Args:
            tokens: answer tokens of the step over all processes, divided by their number.
            model: what processes the pixels; by default the strategy's model.
        """
        config, models = self.config, self.strategy.models
        z, class_output = (model or self.strategy.model)(part.pixels)
        z = z.float()
        codes = quantize(z, self._codebook) if self.recipe.quantized else None
        visual = z if codes is None else codes.quantized
        with self.strategy.autocast():
            answers = models.surrogate.answer_loss(visual, part.text, "sum")
        per = tokens
        if config.sal_reduction == "sample_sum":
            per = config.batch / self.strategy.accelerator.num_processes
        terms = {"sal": config.lambda_sal * answers / per}
        share = 1 / config.hardware.accumulate
        error = torch.zeros((), device=z.device)
        if codes is not None:
            distances = codes.residual_sq_norms
            error = distances.detach()[..., -1].mean() / z.detach().square().sum(-1).mean()
            if self.recipe.regularized:
                loss = commitment(distances, z.shape[-1], config.commit_levels)
                terms["commit"] = config.lambda_commit * loss * share
        if models.head is not None:
            assert class_output is not None
            loss = models.head(class_output.float(), part.texts, part.keys, part.place)
            terms["con"] = self.lambda_con * loss * share
        if self.anchor is not None:
            with self.strategy.autocast():
                distance = self.anchor.distance(part.pixels)
            terms["ldifs"] = config.ldifs.weight * distance * share
        return terms, error * share

    def total(self, found: list[dict[str, Tensor]], step: int) -> dict[str, float]:
        """A step's loss terms and error from those of its parts.

        This is the only place in a step that waits for the device.

        Raises:
            CraftError: a part's loss is not finite; the message shows the first such part.
        """
        names = list(found[0])
        parts = torch.stack([torch.stack([part[name].float() for name in names]) for part in found])
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        mean = self.strategy.average(total)
        *rows, losses = torch.cat([parts, mean[None]]).tolist()
        for row in (*rows, losses):
            values = dict(zip(names, row, strict=True))
            error = values.pop(ERROR)
            if not math.isfinite(sum(values.values())):
                raise CraftError(
                    f"the loss is not finite at step {step}: {values}; lower lr (now "
                    f"{self.config.lr})"
                )
            values[ERROR] = error
        return dict(zip(names, losses, strict=True))
