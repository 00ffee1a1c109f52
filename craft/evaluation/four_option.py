"""Four-option accuracy by generation: the model writes its answer, exact match decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from craft.data.questions import Question
from craft.evaluation.answer_batches import by_window, questions_together
from craft.evaluation.bootstrap import interval
from craft.evaluation.exact_match import lenient_match, strict_match
from craft.evaluation.visual_tokens import Visual
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.runtime.memory import freed_memory


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
    language_model: AlignedLanguageModel,
    visual: Visual,
    questions: Sequence[Question],
    *,
    batch: int | None = None,
    max_new_tokens: int = 5,
    known: Mapping[int, str] | None = None,
    on_answers: Callable[[Mapping[int, str]], None] = lambda answers: None,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Greedy answers; a question looks at image ``question.row`` of ``visual``.

    Batches hold prompts of similar length, to pad little: of all questions, or of those about the
    images that ``visual`` shows together.

    Args:
        batch: questions asked together; None for
            :func:`~craft.evaluation.answer_batches.questions_together`.
        max_new_tokens: where an answer is cut off (methods F6).
        known: question number -> the answer of an earlier run that was stopped; a batch is asked
            again unless all of it is known.
        on_answers: called with the answers of a batch, by question number, when it was asked.
        on_batch: called with (answered, questions) after every batch.

    Returns:
        One prediction a question, in the order of the questions.
    """
    given: dict[int, str] = {}
    known = known or {}
    batch = batch or questions_together(language_model, visual.length)
    for chosen in _batches(visual, questions, batch):
        if all(i in known for i in chosen):
            given.update((i, known[i]) for i in chosen)
        else:
            asked = [questions[i] for i in chosen]
            text = language_model.prompt_batch([q.prompt for q in asked])
            answers = language_model.answer(
                visual.show([q.row for q in asked]), text, max_new_tokens
            )
            found = dict(zip(chosen, answers, strict=True))
            on_answers(found)
            given.update(found)
            freed_memory.between_batches()
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


def _batches(visual: Visual, questions: Sequence[Question], batch: int) -> Iterator[list[int]]:
    """Numbers of questions to ask together."""
    for numbers in by_window(visual, questions):
        numbers.sort(key=lambda i: len(questions[i].prompt))
        for start in range(0, len(numbers), batch):
            yield numbers[start : start + batch]


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
