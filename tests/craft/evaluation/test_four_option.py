"""Answers do not depend on how questions are batched or ordered; counts are right."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from craft.data.questions import Question
from craft.evaluation.four_option import (
    Prediction,
    accuracy,
    answer_questions,
    by_class,
    summarize,
)
from craft.family.family import ModelFamily
from tests.craft.evaluation.fixed_tokens import FixedTokens


@pytest.fixture
def questions() -> list[Question]:
    """Prompts of very different lengths, so that batches need padding."""
    rng = random.Random(0)
    words = ["what", "object", "is", "shown", "thing", "aa", "bb", "image", "answer", "letter"]
    return [
        Question(
            id=str(i),
            row=rng.randrange(7),
            label="thing aa",
            prompt=" ".join(rng.choices(words, k=rng.randint(1, 25))),
            answer="A",
            heldout=i % 3 == 0,
        )
        for i in range(30)
    ]


@pytest.mark.parametrize("kept", [6, 4])
@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_batch_size_and_order_change_nothing(
    tiny_models: ModelFamily, questions: list[Question], name: str, kept: int
) -> None:
    language_model = tiny_models.language_model(name)
    visual = torch.randn(7, 6, 16, generator=torch.Generator().manual_seed(0))
    visual = FixedTokens(visual[:, [0, 2, 3, 5]] if kept == 4 else visual)
    alone = answer_questions(language_model, visual, questions, batch=1)
    assert len({p.given for p in alone}) > 3  # otherwise the comparison would show nothing
    assert [p.id for p in alone] == [q.id for q in questions]
    for batch in (3, 16, 128):
        assert answer_questions(language_model, visual, questions, batch=batch) == alone
        windows = FixedTokens(visual.features, 3)
        assert answer_questions(language_model, windows, questions, batch=batch) == alone
    shuffled = random.Random(1).sample(questions, len(questions))
    again = answer_questions(language_model, visual, shuffled, batch=8)
    assert sorted(again, key=lambda p: int(p.id)) == alone


def test_a_question_is_about_its_row(tiny_models: ModelFamily) -> None:
    visual = 3 * torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(1))
    asked = [Question(str(r), r, "x", "what object is shown", "A") for r in (2, 0, 3, 1)]
    together = answer_questions(tiny_models.language_model("llama"), FixedTokens(visual), asked)
    for question, prediction in zip(asked, together, strict=True):
        moved = Question(question.id, 0, "x", question.prompt, "A")
        image = FixedTokens(visual[question.row : question.row + 1])
        assert answer_questions(tiny_models.language_model("llama"), image, [moved]) == [prediction]
    assert len(Counter(p.given for p in together)) > 1


def test_progress_reaches_the_total(tiny_models: ModelFamily, questions: list[Question]) -> None:
    seen: list[tuple[int, int]] = []
    answer_questions(
        tiny_models.language_model("qwen2"),
        FixedTokens(torch.zeros(7, 2, 16)),
        questions,
        batch=13,
        on_batch=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(13, 30), (26, 30), (30, 30)]


def prediction(right: bool, heldout: bool, label: str = "l", lenient: bool = False) -> Prediction:
    given = "A" if right else "B"
    return Prediction("i", label, heldout, "p", "A", given, right, right or lenient)


def test_summary_counts_parts_and_leaves_empty_ones_none() -> None:
    mixed = [prediction(True, False), prediction(True, False), prediction(False, False)]
    scores = summarize([*mixed, prediction(True, True)])
    assert scores["all"] == 75
    assert scores["seen"] == pytest.approx(200 / 3)
    assert scores["heldout"] == 100
    assert scores["n"] == {"all": 4, "seen": 3, "heldout": 1}
    low, high = scores["intervals"]["all"]
    assert low < 75 < high
    assert scores["intervals"]["heldout"] == [100, 100]
    only_seen = summarize(mixed)
    assert only_seen["heldout"] is None
    assert only_seen["intervals"]["heldout"] is None
    assert only_seen["n"]["heldout"] == 0
    assert accuracy([]) is None
    assert summarize([])["lenient"] is None


def test_balanced_accuracy_weights_classes_equally() -> None:
    common = [prediction(True, False, "benign")] * 9
    rare = [prediction(False, False, "malignant")]
    scores = summarize([*common, *rare])
    assert scores["all"] == 90
    assert scores["balanced"] == {"all": 50, "seen": 50, "heldout": None}


def test_lenient_accepts_more() -> None:
    wrong = [prediction(False, False, lenient=True), prediction(False, False)]
    assert summarize(wrong)["all"] == 0
    assert summarize(wrong)["lenient"] == 50


def test_classes_are_listed_worst_first() -> None:
    table = by_class(
        [
            prediction(True, False, "cat"),
            prediction(True, True, "dog"),
            prediction(False, True, "dog"),
        ]
    )
    assert list(table.items()) == [
        ("dog", {"accuracy": 50, "n": 2, "heldout": True}),
        ("cat", {"accuracy": 100, "n": 1, "heldout": False}),
    ]
