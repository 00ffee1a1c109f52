"""Few-shot classification on the pocket world: adapters compared with the pair as it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from craft.adapters.heba import PRESETS, HebaConfig, PresetName
from craft.data import prompts
from craft.data.images.augment import resize
from craft.data.images.image_set import ImageSet
from craft.data.images.random_crop import RandomResizedCrop
from craft.errors import CraftError
from craft.evaluation.results import FewShotMode, FewShotResults, MeanScore
from craft.family.family import ModelFamily
from craft.pocket.world import DOMAINS, load_area
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.training.few_shot import (
    ClassImages,
    FewShotLearner,
    FewShotRecipe,
    FewShotScores,
    FewShotTask,
)

ZERO_SHOT = "zero-shot"
#: Where a mirrored image may be another class.
_HANDED = ("digits", "flags")


def few_shot_task(name: str, models: ModelFamily) -> FewShotTask:
    """A domain as base and novel classes: the first half of its class names, and the rest.

    Line art is one concept drawn by two artists, of whom one trains and the other tests; flags are
    two sets, likewise; handwriting has many images a class.

    Raises:
        CraftError: no such domain.
    """
    if name not in DOMAINS:
        raise CraftError(f"domain must be one of {sorted(DOMAINS)}, got {name!r}")
    area = load_area(DOMAINS[name])
    train, test = area.split("train"), area.split("test")
    classes = sorted(set(train.labels) | set(test.labels))
    config: Any = models.siglip.config
    ids = models.tokenizer(
        [prompts.caption(area.subject, label) for label in classes],
        padding="max_length",
        truncation=True,
        max_length=config.text_config.max_position_embeddings,
        return_tensors="pt",
    )["input_ids"]
    half = len(classes) // 2
    base = set(classes[:half])
    return FewShotTask(
        train=_numbered(train.where([label in base for label in train.labels]), classes),
        test=_numbered(test, classes),
        prompts=list(ids[:, None]),
        base=list(range(half)),
        novel=list(range(half, len(classes))),
    )


def compare_few_shot(
    name: str,
    models: ModelFamily,
    out: Path,
    *,
    modes: Sequence[PresetName] = ("heba", "heba_discrete"),
    seeds: Sequence[int] = (0,),
    recipe: FewShotRecipe | None = None,
    smallest_crop: float = 0.08,
    on_progress: OnProgress = ignore_progress,
) -> FewShotResults:
    """Zero-shot and adapted accuracies of each mode; writes results.json.

    The text tower has adapters in ``heba`` alone, as the presets mean it (methods 1.9).

    Args:
        seeds: shots, order, views and the adapters' first weights.
        smallest_crop: share of an image's area that a training view has at least.

    Returns:
        What results.json holds; its ``modes`` are "zero-shot" and ``modes``.

    Raises:
        CraftError: no such domain or preset.
    """
    task = few_shot_task(name, models)
    recipe = recipe or FewShotRecipe()
    flip = 0.0 if DOMAINS[name] in _HANDED else 0.5
    crop = RandomResizedCrop(models.image_size, (smallest_crop, 1.0), flip=flip)
    scores: dict[str, list[FewShotScores]] = {}
    with _learner(models, None, None, crop, 0) as untouched:
        scores[ZERO_SHOT] = [untouched.scores(task)]
    for mode in modes:
        if mode not in PRESETS:
            raise CraftError(f"adapters must be one of {', '.join(PRESETS)}, got {mode!r}")
        config = PRESETS[mode]
        text = config if mode == "heba" else None
        for seed in seeds:
            chosen = FewShotRecipe(**{**asdict(recipe), "seed": recipe.seed + seed})
            with _learner(models, config, text, crop, chosen.seed) as learner:
                title = f"{name}, {mode}, seed {seed}"
                losses = learner.fit(
                    task, chosen, lambda step, steps, title=title: on_progress(title, step, steps)
                )
                found = learner.scores(task)
                trained = sum(p.numel() for p in learner.trained.values())
            scores.setdefault(mode, []).append(
                FewShotScores(found.base, found.novel, losses, trained)
            )
    tested = {"base": _count(task, task.base), "novel": _count(task, task.novel)}
    results = FewShotResults.of(
        domain=name,
        classes={"base": len(task.base), "novel": len(task.novel)},
        n=tested,
        modes={mode: _summary(found) for mode, found in scores.items()},
        seeds=list(seeds),
        recipe=asdict(recipe) | {"smallest_crop": smallest_crop, "flip": flip},
        versions=environment(),
    )
    results.save(out)
    return results


def _learner(
    models: ModelFamily,
    vision: HebaConfig | None,
    text: HebaConfig | None,
    crop: RandomResizedCrop,
    seed: int,
) -> FewShotLearner:
    def view(images: Tensor, generator: torch.Generator) -> Tensor:
        return crop(images.float() / 255, generator) * 2 - 1

    return FewShotLearner(
        models.siglip,
        models.pretrained_tower().grid,
        vision=vision,
        text=text,
        view=view,
        plain=lambda images: resize(images.float() / 255, models.image_size) * 2 - 1,
        seed=seed,
    )


def _numbered(images: ImageSet, classes: list[str]) -> ClassImages:
    numbers = {label: number for number, label in enumerate(classes)}
    return ClassImages(images.images, torch.tensor([numbers[x] for x in images.labels]))


def _count(task: FewShotTask, classes: list[int]) -> int:
    """Test images of ``classes``."""
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
