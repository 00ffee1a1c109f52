"""Which weights an adaptation returns: the step, and how far to go from the pretrained ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from craft.data.augment import resize
from craft.data.question_domain import AnyDomain, QuestionDomain
from craft.data.questions import Question, seeded
from craft.models.lvlm import DiscreteLVLM
from craft.models.vision_tower import DiscreteVisionTower
from craft.training.config import CraftConfig
from craft.training.validation import letter_scores

#: Shares of the adapted weights that are tried between the pretrained and the adapted ones.
BLENDS = (0.2, 0.4, 0.6, 0.8)

Views = tuple[Tensor, list[Question]]


class Selection:
    """Validates a tower in training and keeps its best weights.

    The score is the language model's mean probability of the right letter on validation images of
    the domain, which hold no held-out class, plus the same on ``general``, images of the world the
    models already knew: an encoder that forgets is not the better one.
    """

    def __init__(
        self,
        tower: DiscreteVisionTower,
        surrogate: DiscreteLVLM,
        domain: AnyDomain,
        general: Views | None,
        config: CraftConfig,
    ):
        self.tower = tower
        self.surrogate = surrogate
        self.sets = {"domain": domain_views(domain, config.validation_images, tower.image_size)}
        if general is not None:
            self.sets["general"] = general
        self.history: list[dict[str, float]] = []
        self.pretrained = copy.deepcopy(tower.state_dict())
        self.step, self.blend = 0, 1.0
        self.score = float("-inf")
        self.weights = self.pretrained

    def validate(self, step: int, blend: float = 1.0) -> dict[str, float]:
        """Score the tower as it is; accuracies in per cent, the score on the same scale."""
        training = self.tower.training
        self.tower.eval()
        found = {
            name: letter_scores(self.tower, self.surrogate, images, questions)
            for name, (images, questions) in self.sets.items()
        }
        self.tower.train(training)
        score = sum(x.confidence for x in found.values())
        if score > self.score:
            self.step, self.blend, self.score = step, blend, score
            self.weights = copy.deepcopy(self.tower.state_dict())
        entry = {name: x.accuracy for name, x in found.items()} | {"score": score}
        self.history.append({"step": step, "blend": blend, **entry})
        return entry

    def blend_back(self) -> None:
        """Validate mixtures of the pretrained and the best weights, which often know more than
        either (Wortsman et al., 2022, "Robust fine-tuning of zero-shot models")."""
        step, adapted = self.step, self.weights
        if step == 0:
            return
        for share in BLENDS:
            mixed = {
                name: torch.lerp(self.pretrained[name], x, share) if x.is_floating_point() else x
                for name, x in adapted.items()
            }
            self.tower.load_state_dict(mixed)
            self.validate(step, share)


def domain_views(domain: AnyDomain, count: int, size: int) -> Views:
    """Validation images, at most ``count``; the fewer there are, the more questions on each, so
    that the distractors' luck of the draw evens out."""
    rows = seeded("validation rows").sample(range(len(domain.val)), len(domain.val))
    chosen = set(rows[:count])
    part = domain.val.where([i in chosen for i in range(len(domain.val))])
    fixed = isinstance(domain, QuestionDomain)  # its questions come with it: none are drawn
    draws = 1 if fixed else max(1, count // len(part))
    questions = [q for seed in range(draws) for q in domain.questions(part, seed)]
    return resize(part.images.float() / 255, size), questions
