"""Few-shot classification: adapters compared with the pair as it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from craft.data.images.augment import resize
from craft.data.images.random_crop import RandomResizedCrop
from craft.errors import CraftError
from craft.evaluation.results import RESULTS
from craft.family.family import ModelFamily
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.runtime.whole_file import write_json
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
) -> dict[str, Any]:
    """Zero-shot and adapted accuracies of each mode; writes results.json.

    The text tower has adapters in ``heba`` alone, as the presets mean it (docs/heba.md).

    Args:
        name: what results call the task.
        seeds: shots, order, views and the adapters' first weights.
        smallest_crop: share of an image's area that a training view has at least.
        flip: chance that a training view is mirrored; 0 where that may be another class.

    Returns:
        What results.json holds: ``modes.<mode>`` with ``base``, ``novel`` and ``harmonic_mean`` in
        per cent, each as mean and standard deviation over seeds, and ``trained`` weights.

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
    results = {
        "domain": name,
        "classes": {"base": len(task.base), "novel": len(task.novel)},
        "modes": {mode: _summary(found) for mode, found in scores.items()},
        "seeds": list(seeds),
        "recipe": asdict(recipe) | {"smallest_crop": smallest_crop, "flip": flip},
        "versions": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RESULTS, results)
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


def _summary(found: list[FewShotScores]) -> dict[str, Any]:
    """Mean and standard deviation of each accuracy."""
    summary: dict[str, Any] = {"trained": found[0].trained}
    for name in ("base", "novel", "harmonic_mean"):
        values = [getattr(scores, name) for scores in found]
        spread = statistics.stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": statistics.fmean(values), "std": spread}
    return summary
