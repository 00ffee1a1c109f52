"""Few-shot classification tasks from the pocket world's domains."""

from __future__ import annotations

from typing import Any

import torch

from craft.data import prompts
from craft.data.images.image_set import ImageSet
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.pocket.world import DOMAINS, load_area
from craft.training.few_shot import (
    ClassImages,
    FewShotTask,
)

#: Domains in which a mirrored image may show another class.
_HANDED = ("digits", "flags")


def flip_chance(name: str) -> float:
    """The probability that a training view of a domain is mirrored."""
    return 0.0 if DOMAINS[name] in _HANDED else 0.5


def few_shot_task(name: str, models: ModelFamily) -> FewShotTask:
    """Split a domain into base classes, the first half of its class names, and novel ones.

    In line art each concept is drawn by two artists, one for training and one for testing; flags
    likewise come in two sets; handwriting has many images per class.

    Raises:
        CraftError: there is no such domain.
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


def _numbered(images: ImageSet, classes: list[str]) -> ClassImages:
    numbers = {label: number for number, label in enumerate(classes)}
    return ClassImages(
        images.images.pixels(range(len(images))), torch.tensor([numbers[x] for x in images.labels])
    )
