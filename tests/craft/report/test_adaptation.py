"""An adaptation's summary: numbers with n, and a sentence if nothing was gained."""

from __future__ import annotations

from typing import Any

import pytest

from craft.evaluation.validation_gain import ValidationGain
from craft.report.adaptation import adaptation_lines
from craft.settings.training import CraftConfig
from craft.training.result import AdaptationResult, ValidationAnswers

NONE: Any = None


def result(before: str, after: str, blend: float = 1.0, forgot: bool = False) -> AdaptationResult:
    """Answers as digits; two questions on each image."""
    right = [tuple(digit == "1" for digit in digits) for digits in (before, after)]
    images = tuple(row // 2 for row in range(len(before)))
    return AdaptationResult(NONE, blend, ValidationAnswers(right[0], right[1], images, forgot))


def lines(found: AdaptationResult, **settings: Any) -> list[str]:
    return adaptation_lines(found, CraftConfig(**settings), "qwen2", True)


def test_a_gain_is_one_line_with_interval_and_n() -> None:
    (line,) = lines(result("10" * 50, "11" * 50))
    assert "read by qwen2: 50.0 % right before, 100.0 % after, +50.0 points" in line
    assert "(95 % interval +50.0 to +50.0, n = 50 images, 100 questions)" in line


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (result("10" * 9, "10" * 9, blend=0.0), "nothing was gained: no mixture"),
        (result("10" * 9, "10" * 9, blend=0.0, forgot=True), "forgotten more than 4 points"),
        (result("1010", "1011"), "the gain is within chance"),
        (result("11" * 50, "10" * 50), "the answers became worse"),
    ],
)
def test_if_nothing_was_gained_a_sentence_says_what_to_try(
    found: AdaptationResult, said: str
) -> None:
    _, sentence = lines(found)
    assert said in sentence
    assert "--set" in sentence


def test_a_method_that_trains_nothing_is_not_blamed() -> None:
    _, sentence = lines(result("10", "10"), method="zero_shot")
    assert sentence == "method zero_shot trains nothing: the encoder is unchanged"


def test_images_with_one_question_are_counted_once() -> None:
    found = ValidationGain.of((True, False), (True, True), (0, 1))
    assert str(found).endswith("n = 2 images)")
