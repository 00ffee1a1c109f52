"""The three domains an encoder is adapted to, and a probe of the general world for forgetting."""

from __future__ import annotations

import torch
from torch import Tensor

from craft.data.domains.class_domain import ClassDomain
from craft.data.images.augment import Augmentation, resize
from craft.data.questions import Question, four_options, heldout_classes, seeded
from craft.errors import CraftError
from craft.pocket.world import DOMAINS, GENERAL_AREAS, general_world, load_area

#: The general world's unseen views: geometry and light only, so that flags keep their colours.
PROBE_AUGMENTATION = Augmentation(scale=(0.8, 1.1))
#: Share of the training classes that validate instead, where an area has no validation split.
VALIDATION_FRACTION = 0.1


def load_domain(name: str, *, holdout_fraction: float = 0.2, split_seed: int = 0) -> ClassDomain:
    """One of the domains of the pocket world, with its held-out classes taken out of training.

    Line art and flags have no validation images of their own: a tenth of their training classes
    validates instead, so that the choice of a checkpoint asks for what adaptation is for, classes
    the encoder was not adapted on.

    Raises:
        CraftError: no such domain.
    """
    if name not in DOMAINS:
        raise CraftError(f"domain must be one of {sorted(DOMAINS)}, got {name!r}")
    area = load_area(DOMAINS[name])
    test = area.split("test")
    train = area.split("train")
    classes = sorted(set(test.labels) | set(train.labels))
    heldout = heldout_classes(classes, holdout_fraction, split_seed)
    train = train.where([label not in heldout for label in train.labels])
    if "val" in area.splits:
        val = area.split("val")
        val = val.where([label not in heldout for label in val.labels])
    else:
        names = train.classes
        count = max(4, round(VALIDATION_FRACTION * len(names)))
        chosen = set(seeded("validation", split_seed).sample(names, count))
        val = train.where([label in chosen for label in train.labels])
        train = train.where([label not in chosen for label in train.labels])
    return ClassDomain(name, area.subject, classes, heldout, train, val, test)


def pixels(images: Tensor, size: int) -> Tensor:  # uint8 [n, 3, S, S] -> float [n, 3, size, size]
    """Images in [0, 1] at the encoder's size, unaugmented."""
    return resize(images.float() / 255, size)


def general_probe(count: int, size: int, seed: int = 0) -> tuple[Tensor, list[Question]]:
    """Unseen views of the general world, shared out evenly over its areas, with questions.

    Returns:
        images [count, 3, size, size] in [0, 1] and one question each.
    """
    areas = general_world()
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    views, questions = [], []
    for i, area in enumerate(areas):
        n = count // len(areas) + (i < count % len(areas))
        rows = torch.randperm(len(area), generator=generator)[:n].tolist()
        views.append(PROBE_AUGMENTATION(area.images[rows].float() / 255, size, generator))
        asked = four_options(
            [f"{GENERAL_AREAS[i]}/{area.ids[r]}" for r in rows],
            [area.labels[r] for r in rows],
            area.subject,
            area.classes,
            seed=seed,
        )
        first = len(questions)
        questions += [
            Question(q.id, first + k, q.label, q.prompt, q.answer, q.options)
            for k, q in enumerate(asked)
        ]
    return torch.cat(views), questions
