"""Few-shot classification: adapters compared with the unadapted SigLIP pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from craft.data.images.augment import resize
from craft.data.images.random_crop import RandomResizedCrop
from craft.errors import CraftError
from craft.evaluation.results import FewShotMode, FewShotResults, MeanScore
from craft.family.family import ModelFamily
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.settings.heba import PRESETS, HebaConfig, PresetName
from craft.training.few_shot import (
    FewShotLearner,
    FewShotRecipe,
    FewShotScores,
    FewShotTask,
)

ZERO_SHOT = "zero-shot"


def compare_few_shot(
    name: str,
    task: FewShotTask,
    family: ModelFamily,
    out: Path,
    *,
    modes: Sequence[PresetName] = ("heba", "heba_discrete"),
    seeds: Sequence[int] = (0,),
    recipe: FewShotRecipe | None = None,
    smallest_crop: float = 0.08,
    flip: float = 0.5,
    on_progress: OnProgress = ignore_progress,
) -> FewShotResults:
    """Compare zero-shot and adapted accuracies of each mode; writes results.json.

    The text tower has adapters only in mode ``heba``, as the presets intend (docs/heba.md).

    Args:
        name: what results call the task.
        seeds: of the shots, their order, the views and the adapters' initial weights.
        smallest_crop: smallest share of an image's area that a training view shows.
        flip: probability of mirroring a training view; 0 where the mirror image may be another
            class.

    Returns:
        The content of results.json; its modes are "zero-shot" and ``modes``.

    Raises:
        CraftError: no such preset.
    """
    recipe = recipe or FewShotRecipe()
    crop = RandomResizedCrop(family.image_size, (smallest_crop, 1.0), flip=flip)
    scores: dict[str, list[FewShotScores]] = {}
    with _learner(family, None, None, crop, 0) as untouched:
        scores[ZERO_SHOT] = [untouched.scores(task)]
    for mode in modes:
        if mode not in PRESETS:
            raise CraftError(f"adapters must be one of {', '.join(PRESETS)}, got {mode!r}")
        config = PRESETS[mode]
        text = config if mode == "heba" else None
        for seed in seeds:
            chosen = FewShotRecipe(**{**asdict(recipe), "seed": recipe.seed + seed})
            with _learner(family, config, text, crop, chosen.seed) as learner:
                title = f"{name}, {mode}, seed {seed}"
                losses = learner.fit(
                    task, chosen, lambda step, steps, title=title: on_progress(title, step, steps)
                )
                found = learner.scores(task)
                trained = sum(p.numel() for p in learner.trained.values())
            scores.setdefault(mode, []).append(
                FewShotScores(found.base, found.novel, losses, trained)
            )
    results = FewShotResults.of(
        domain=name,
        classes={"base": len(task.base), "novel": len(task.novel)},
        n={"base": _count(task, task.base), "novel": _count(task, task.novel)},
        modes={mode: _summary(found) for mode, found in scores.items()},
        seeds=list(seeds),
        recipe=asdict(recipe) | {"smallest_crop": smallest_crop, "flip": flip},
        versions=environment(),
    )
    results.save(out)
    return results


def _learner(
    family: ModelFamily,
    vision: HebaConfig | None,
    text: HebaConfig | None,
    crop: RandomResizedCrop,
    seed: int,
) -> FewShotLearner:
    def view(images: Tensor, generator: torch.Generator) -> Tensor:
        return crop(images.float() / 255, generator) * 2 - 1

    return FewShotLearner(
        family.siglip,
        family.pretrained_tower().grid,
        vision=vision,
        text=text,
        view=view,
        plain=lambda images: resize(images.float() / 255, family.image_size) * 2 - 1,
        seed=seed,
    )


def _count(task: FewShotTask, classes: list[int]) -> int:
    """Number of test images of ``classes``."""
    return int(torch.isin(task.test.labels, torch.tensor(classes)).sum())


def _summary(found: list[FewShotScores]) -> FewShotMode:
    """Mean and standard deviation of each accuracy."""

    def over_seeds(values: list[float]) -> MeanScore:
        spread = statistics.stdev(values) if len(values) > 1 else None
        return MeanScore(mean=statistics.fmean(values), std=spread)

    return FewShotMode(
        trained=found[0].trained,
        base=over_seeds([scores.base for scores in found]),
        novel=over_seeds([scores.novel for scores in found]),
        harmonic_mean=over_seeds([scores.harmonic_mean for scores in found]),
    )
