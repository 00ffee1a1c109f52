"""Measure forgetting on unseen views of the pocket models' pretraining images."""

from __future__ import annotations

import torch

from craft.data.images.augment import Augmentation
from craft.data.images.store import TensorStore
from craft.data.questions import Question, QuestionSet, four_options
from craft.errors import CraftError
from craft.evaluation.retention import Use
from craft.pocket.world import GENERAL_AREAS, general_world

#: Augmentation that makes unseen views of the general world: geometry and light only, so that flags
#: keep their colours.
PROBE_AUGMENTATION = Augmentation(scale=(0.8, 1.1))
_SEEDS: dict[Use, int] = {"report": 0, "select": 1}


class PocketProbe:
    """The retention probe of the pocket world, with different views for each use."""

    @property
    def least(self) -> int:
        """One view per area of the general world."""
        return len(GENERAL_AREAS)

    def questions(self, count: int, size: int, use: Use) -> QuestionSet:
        """One question about each of ``count`` views, spread evenly over the areas."""
        return general_probe(count, size, _SEEDS[use])


def general_probe(count: int, size: int, seed: int = 0) -> QuestionSet:
    """Unseen views of the general world, spread evenly over its areas, with one question each.

    Raises:
        CraftError: there are fewer views than areas.
    """
    areas = general_world()
    if count < len(areas):
        raise CraftError(f"the general world has {len(areas)} areas, got {count} views of it")
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    views, questions = [], []
    for i, area in enumerate(areas):
        n = count // len(areas) + (i < count % len(areas))
        rows = torch.randperm(len(area), generator=generator)[:n].tolist()
        views.append(PROBE_AUGMENTATION(area.images.pixels(rows).float() / 255, size, generator))
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
    return QuestionSet(TensorStore(torch.cat(views)), questions)
