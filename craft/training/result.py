"""The result of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field

from craft.models.vision_tower import DiscreteVisionTower


@dataclass(frozen=True)
class ValidationAnswers:
    """Which questions about the domain's validation images were answered correctly.

    ``before`` is for the pretrained weights and ``after`` for the returned ones; ``images`` holds
    the image of each question; ``forgot`` says that other weights knew the domain better, but had
    forgotten more than ``config.forget_at_most`` allows.
    """

    before: tuple[bool, ...]
    after: tuple[bool, ...]
    images: tuple[int, ...]
    forgot: bool = False


@dataclass(frozen=True)
class AdaptationResult:
    """The adapted tower (frozen, in eval mode) and a record of its training.

    ``blend`` is the share of adapted weights in it, mixed with the pretrained ones; ``history`` has
    one entry per validation, those of mixtures last; ``frozen_hashes`` are hashes of the parts
    proved unchanged; ``code_flip_rate`` is the share of first-level codes of the domain's
    validation images that differ from the pretrained encoder's; ``resumed`` is the step of the
    checkpoint that the run resumed from.
    """

    tower: DiscreteVisionTower
    blend: float
    answers: ValidationAnswers
    history: list[dict[str, float]] = field(default_factory=list)
    frozen_hashes: dict[str, str] = field(default_factory=dict)
    gradient_norms: dict[str, float] = field(default_factory=dict)
    code_flip_rate: float = 0.0
    resumed: int | None = None
