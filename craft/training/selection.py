"""Selection of the weights that an adaptation returns."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from craft.adapters.installation import idle_state
from craft.data.domains.domain import Domain
from craft.data.questions import QuestionSet, seeded
from craft.evaluation.visual_tokens import VisualTokens
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.settings.training import CraftConfig
from craft.training.validation import letter_scores

#: Shares of the adapted weights, mixed with the pretrained ones, that are tried besides 1.
SHARES = tuple(i / 10 for i in range(1, 10))

#: Difference in confidence, in points, that counts as none. Over a few hundred questions, rounding
#: moves a float32 language model's by 1e-5 and a bfloat16 one's by up to 0.04; chance moves it by a
#: point or two.
NO_DIFFERENCE = 0.05


class Selection:
    """Chooses how far to go from the pretrained weights towards the adapted ones.

    Mixtures of both sets of weights often know what either knows (Wortsman et al., 2022, "Robust
    fine-tuning of zero-shot models"). The mixture chosen is the best one on the domain's validation
    images, which contain no held-out class. If there are ``general`` questions, about images of the
    world the models already knew, only mixtures that lose at most ``config.forget_at_most`` on them
    are considered. Both are measured by the language model's mean probability of the right letter,
    and differences within rounding count as ties, which the earlier step and the smaller share win.
    """

    def __init__(
        self,
        tower: DiscreteVisionTower,
        surrogate: AlignedLanguageModel,
        domain: Domain,
        general: QuestionSet | None,
        config: CraftConfig,
        *,
        quantized: bool = True,
    ):
        self.tower = tower
        self.surrogate = surrogate
        self.config = config
        self.quantized = quantized
        self.sets = validation_sets(domain, general, config)
        for asked in self.sets.values():
            asked.images.prepare()
        self.history: list[dict[str, float]] = []
        #: For each entry of ``history``, which of the domain's questions were answered correctly.
        self.right: list[tuple[bool, ...]] = []
        #: The entry of ``history`` with the tower's weights: the newest or the chosen one.
        self.taken = -1
        #: Whether some mixture knew the domain better than the chosen one but forgot too much.
        self.forgot = False
        self.pretrained = copy.deepcopy(tower.state_dict())
        self._first_codes = self._first_level()
        #: The best validated weights so far and their scores, if ``config.select`` is "best".
        self.best: tuple[dict[str, Tensor], dict[str, float]] | None = None

    def validate(self, step: int, blend: float = 1.0) -> dict[str, float]:
        """Measure the current tower's accuracy and confidence on each set, in per cent."""
        training = self.tower.training
        self.tower.eval()
        entry: dict[str, float] = {}
        for name, asked in self.sets.items():
            found = letter_scores(self.tower, self.surrogate, asked, quantized=self.quantized)
            entry |= {name: found.accuracy, f"{name}_confidence": found.confidence}
            if name == "domain":
                self.right.append(found.right)
        self.tower.train(training)
        self.history.append({"step": step, "blend": blend, **entry})
        if self.config.select == "best" and blend == 1:
            score = entry["domain_confidence"]
            if self.best is None or _higher(score, self.best[1]["domain_confidence"]):
                self.best = copy.deepcopy(self.tower.state_dict()), self.history[-1]
        return entry

    def code_flip_rate(self) -> float:
        """Share in [0, 1] of the first-level codes of the domain's validation images that differ
        from the pretrained encoder's."""
        training = self.tower.training
        self.tower.eval()
        changed = self._first_level() != self._first_codes
        self.tower.train(training)
        return float(changed.float().mean())

    def _first_level(self) -> Tensor:  # [n, H, W]
        return VisualTokens(self.tower, self.sets["domain"].images).first_level()

    def take_best(self) -> int:
        """Give the tower its best validated weights; returns their step, or -1 for the last."""
        if self.best is None:
            return -1
        self.tower.load_state_dict(self.best[0])
        self.taken = self.history.index(self.best[1])
        return int(self.best[1]["step"])

    def blend(self, step: int, on_share: Callable[[int, int], None] = lambda *_: None) -> float:
        """Give the tower the best mixture of its current and the pretrained weights.

        The current weights must have been validated.

        Args:
            on_share: called with (mixtures tried, mixtures), first with 0.

        Returns:
            Share of the current weights; 0 if no mixture is better than the pretrained weights.
        """
        adapted = copy.deepcopy(self.tower.state_dict())
        # Entries of the history for the pretrained and the fully adapted weights.
        start, end = 0, len(self.history) - 1
        if self.best is not None:
            end = self.history.index(self.best[1])
        # Adapters are mixed with idle ones, since their initial weights may not be idle.
        idle = idle_state(self.tower)
        self.pretrained = adapted | self.pretrained | idle
        if idle:
            self._mix(adapted, 0.0)
            self.validate(step, 0.0)
            start = len(self.history) - 1
        self.taken, chosen, refused = start, 0.0, 0.0
        known = self.history[start].get("general_confidence", 0.0)
        shares = (*SHARES, 1.0)
        for number, share in enumerate(shares):
            on_share(number, len(shares))
            if share < 1:
                self._mix(adapted, share)
                self.validate(step, share)
            tried = end if share == 1 else len(self.history) - 1
            found, best = self.history[tried], self.history[self.taken]["domain_confidence"]
            lost = known - found.get("general_confidence", 0.0)
            if _higher(lost, self.config.forget_at_most):
                refused = max(refused, found["domain_confidence"])
            elif _higher(found["domain_confidence"], best):
                self.taken, chosen = tried, share
        self._mix(adapted, chosen)
        on_share(len(shares), len(shares))
        self.forgot = _higher(refused, self.history[self.taken]["domain_confidence"])
        return chosen

    def _mix(self, adapted: dict[str, Tensor], share: float) -> None:
        mixed = {
            name: torch.lerp(self.pretrained[name], x, share) if x.is_floating_point() else x
            for name, x in adapted.items()
        }
        self.tower.load_state_dict(mixed)


def _higher(score: float, other: float) -> bool:
    """Whether ``score`` exceeds ``other`` by more than rounding."""
    return score - other > NO_DIFFERENCE


def validation_sets(
    domain: Domain, general: QuestionSet | None, config: CraftConfig
) -> dict[str, QuestionSet]:
    """What a run is validated on: "domain", and "general" where something watches forgetting."""
    found = {"domain": domain_views(domain, config.validation_images)}
    return found if general is None else found | {"general": general}


def domain_views(domain: Domain, count: int) -> QuestionSet:
    """Questions on at most ``count`` validation images.

    The fewer images there are, the more questions each gets, so that the luck of drawing
    distractors averages out.
    """
    rows = seeded("validation rows").sample(range(len(domain.val)), len(domain.val))
    chosen = set(rows[:count])
    part = domain.val.where([i in chosen for i in range(len(domain.val))])
    fixed = domain.fixed_questions
    draws = 1 if fixed else max(1, count // len(part))
    questions = [q for seed in range(draws) for q in domain.questions(part, seed)]
    return QuestionSet(part.images, questions)
