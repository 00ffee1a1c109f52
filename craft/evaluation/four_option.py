"""Four-option accuracy by generation: the model writes its answer, exact match decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from craft.data.questions import Question
from craft.evaluation.bootstrap import interval
from craft.evaluation.exact_match import lenient_match, strict_match
from craft.models.aligned_language_model import AlignedLanguageModel


@dataclass(frozen=True)
class Prediction:
    """One question, what the model wrote, and whether that is right."""

    id: str
    label: str
    heldout: bool
    prompt: str
    answer: str
    given: str
    right: bool
    lenient: bool


def answer_questions(
    lvlm: AlignedLanguageModel,
    visual: Tensor,  # [n, M, D]
    questions: Sequence[Question],
    *,
    batch: int = 128,
    max_new_tokens: int = 5,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Let ``lvlm`` answer, greedily; a question looks at row ``question.row`` of ``visual``.

    Batches hold prompts of similar length, whatever the order of the questions, to pad little.

    Args:
        max_new_tokens: where an answer is cut off (methods F6).
        on_batch: called with (answered, questions) after every batch.

    Returns:
        One prediction a question, in the order of the questions.
    """
    by_length = sorted(range(len(questions)), key=lambda i: len(questions[i].prompt))
    given: dict[int, str] = {}
    for start in range(0, len(questions), batch):
        chosen = by_length[start : start + batch]
        asked = [questions[i] for i in chosen]
        text = lvlm.prompt_batch([q.prompt for q in asked])
        answers = lvlm.answer(visual[[q.row for q in asked]], text, max_new_tokens)
        given.update(zip(chosen, answers, strict=True))
        if on_batch is not None:
            on_batch(len(given), len(questions))
    return [
        Prediction(
            id=q.id,
            label=q.label,
            heldout=q.heldout,
            prompt=q.prompt,
            answer=q.answer,
            given=given[i],
            right=strict_match(given[i], q.answer),
            lenient=lenient_match(given[i], q.answer),
        )
        for i, q in enumerate(questions)
    ]


def summarize(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Strict accuracy in per cent over all, seen and held-out classes, and how many each counts.

    A part without questions is None, never 0.

    Returns:
        ``all``, ``seen``, ``heldout`` and ``n``; ``balanced``, the three with every class counting
        the same; ``intervals``, their 95 % bootstrap intervals; ``lenient``, the accuracy that also
        forgives the wrong form.
    """
    parts = {
        "all": list(predictions),
        "seen": [p for p in predictions if not p.heldout],
        "heldout": [p for p in predictions if p.heldout],
    }
    scores: dict[str, Any] = {name: accuracy(part) for name, part in parts.items()}
    scores["n"] = {name: len(part) for name, part in parts.items()}
    scores["balanced"] = {name: balanced_accuracy(part) for name, part in parts.items()}
    scores["intervals"] = {
        name: list(interval([100.0 * p.right for p in part])) if part else None
        for name, part in parts.items()
    }
    scores["lenient"] = 100 * fmean(p.lenient for p in predictions) if predictions else None
    return scores


def by_class(predictions: Sequence[Prediction]) -> dict[str, dict[str, Any]]:
    """Strict accuracy in per cent of each class, worst first, with n and whether held out."""
    classes: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        classes.setdefault(prediction.label, []).append(prediction)
    table = {
        label: {"accuracy": accuracy(given), "n": len(given), "heldout": given[0].heldout}
        for label, given in sorted(classes.items())
    }
    return dict(sorted(table.items(), key=lambda item: item[1]["accuracy"]))


def accuracy(predictions: Sequence[Prediction]) -> float | None:
    """Per cent of strict matches; None without predictions."""
    if not predictions:
        return None
    return 100 * sum(p.right for p in predictions) / len(predictions)


def balanced_accuracy(predictions: Sequence[Prediction]) -> float | None:
    """The mean of the classes' accuracies in per cent; None without predictions.

    Where most images are of one class, naming that class always scores high by :func:`accuracy`,
    but 100 / classes here.
    """
    if not predictions:
        return None
    return fmean(entry["accuracy"] for entry in by_class(predictions).values())
