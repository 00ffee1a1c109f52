"""A test image with its codes, its kept tokens and all answers about it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from craft.evaluation.four_option import Prediction
from craft.pocket.demo.results import Condition


@dataclass(frozen=True)
class Example:
    """An image, its tokens and the answers to its question.

    Args:
        image: [3, S, S] in [0, 1], as seen by the encoder.
        codes: int64 [H, W], first-level codes of the adapted encoder.
        kept: bool [H, W], True for the patches that pruning keeps.
        answers: language model -> condition -> its answer.
    """

    domain: str
    label: str
    heldout: bool
    prompt: str
    answer: str
    image: Tensor
    codes: Tensor
    kept: Tensor
    answers: dict[str, dict[Condition, Prediction]]
