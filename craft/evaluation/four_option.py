"""Four-option accuracy by generation: the model writes its answer, and exact match decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from craft.data.questions import Question
from craft.evaluation.answer_batches import by_window, questions_together, shared_parts
from craft.evaluation.bootstrap import interval
from craft.evaluation.exact_match import lenient_match, strict_match
from craft.evaluation.visual_tokens import Visual
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.runtime.memory import freed_memory
from craft.runtime.processes import ALONE, Processes


@dataclass(frozen=True)
class Prediction:
    """One question, the model's answer, and whether it is right."""

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
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    processes: Processes = ALONE,
) -> list[Prediction]:
    """Answer questions greedily; each is about image ``question.row`` of ``visual``.

    To save padding, batches consist of prompts of similar length, among all questions or among
    those about images that ``visual`` shows together.

    Args:
        batch: questions per batch; by default
            :func:`~craft.evaluation.answer_batches.questions_together`.
        max_new_tokens: longest answer, which is cut off there (methods F6).
        known: question number -> answer from an interrupted run; a batch is asked again unless all
            its answers are known.
        on_answers: called with the answers of each batch that was asked, by question number.
        on_batch: called with (answered, questions) after every batch, and before the first batch if
            some answers are known.
        processes: each of them asks some of the batches, and has all answers afterwards.

    Returns:
        One prediction per question, in the order of the questions.
    """
    known = known or {}
    batch = batch or questions_together(language_model, visual.length)
    windows = [
        [chosen for chosen in window if not all(i in known for i in chosen)]
        for window in _batches(visual, questions, batch)
    ]
    missing = sum(len(chosen) for window in windows for chosen in window)
    tally = processes.tally(len(questions) - missing, len(questions), on_batch)
    if missing < len(questions):
        tally.tell()
    found: dict[int, str] = {}
    for part in processes.claimed(shared_parts(windows, processes.count)):
        for chosen in part:
            asked = [questions[i] for i in chosen]
            text = language_model.prompt_batch([q.prompt for q in asked])
            answers = language_model.answer(
                visual.show([q.row for q in asked]), text, max_new_tokens
            )
            said = dict(zip(chosen, answers, strict=True))
            on_answers(said)
            found.update(said)
            freed_memory.between_batches()
            tally.add(len(chosen))
    given = dict(known)
    for answered in processes.gathered(found):
        given.update(answered)
    tally.close()
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


def _batches(visual: Visual, questions: Sequence[Question], batch: int) -> list[list[list[int]]]:
    """The numbers of the questions in each batch of each window."""
    members = by_window(visual, questions)
    for numbers in members:
        numbers.sort(key=lambda i: len(questions[i].prompt))
    return [[numbers[i : i + batch] for i in range(0, len(numbers), batch)] for numbers in members]


def summarize(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Strict accuracy in per cent over all, seen and held-out classes, with their counts.

    A part without questions is None, never 0.

    Returns:
        ``all``, ``seen``, ``heldout`` and their counts ``n``; ``balanced``, the three with equally
        weighted classes; ``intervals``, their 95 % bootstrap intervals; ``lenient``, the accuracy
        that also accepts right answers in the wrong form.
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
    """Strict accuracy of each class in per cent, worst first, with n and whether it is held out."""
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
    """Mean of the classes' accuracies in per cent; None without predictions.

    If most images belong to one class, always naming it scores high in :func:`accuracy` but only
    100 / classes here.
    """
    if not predictions:
        return None
    return fmean(entry["accuracy"] for entry in by_class(predictions).values())
