"""Exams of an encoder: on unseen images of its domain, and on what it should not forget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TextIO

from torch import Tensor

from craft.data.domains.domain import Domain
from craft.data.images.image_set import ImageSet
from craft.data.images.pace import EncodingPace
from craft.data.questions import Question, QuestionSet, seeded
from craft.errors import CraftError
from craft.evaluation.four_option import Prediction, accuracy, answer_questions, summarize
from craft.evaluation.instruction_following import ask_for_reasons, examine
from craft.evaluation.instruction_following import summarize as summarize_justified
from craft.evaluation.journal import Journal
from craft.evaluation.likelihood import likelihood_accuracy, option_log_likelihoods
from craft.evaluation.results import Gain
from craft.evaluation.visual_tokens import VisualTokens
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.processes import ALONE, Processes
from craft.runtime.progress import OnProgress, ignore_progress
from craft.settings.choices import Selector

#: A justification names the letter, the class and its group.
JUSTIFICATION_TOKENS = 48


def question_set(part: ImageSet, questions: list[Question]) -> QuestionSet:
    """Questions about images of a part, with only those images, each once."""
    rows = {row: i for i, row in enumerate(dict.fromkeys(q.row for q in questions))}
    asked = [replace(q, row=rows[q.row]) for q in questions]
    return QuestionSet(part.images.take(list(rows)), asked)


@dataclass(frozen=True)
class Exam:
    """Questions about a domain's test images, and optional general ones that measure forgetting.

    Options and held-out classes are the same for every seed of an adaptation (methods B8).
    """

    domain: QuestionSet
    general: QuestionSet | None = None

    @classmethod
    def of(
        cls,
        domain: Domain,
        general: QuestionSet | None = None,
        limit: int | None = None,
    ) -> Exam:
        """All test questions of ``domain``, or ``limit`` random ones.

        Raises:
            CraftError: the limit is below 1.
        """
        questions = domain.questions(domain.test)
        if limit is not None:
            if limit < 1:
                raise CraftError(f"the test limit must be at least 1, got {limit}")
            rows = range(len(questions))
            drawn = seeded("test limit").sample(rows, min(limit, len(rows)))
            questions = [questions[row] for row in sorted(drawn)]
        return cls(question_set(domain.test, questions), general)


@dataclass(frozen=True)
class Marks:
    """Accuracies in per cent with their counts, and the answers they were counted from."""

    scores: dict[str, Any]
    domain: list[Prediction]
    general: list[Prediction]

    def gain_over(self, before: Marks) -> Gain:
        """Points gained on the domain since ``before``, which answered the same questions."""
        return Gain.between([p.right for p in before.domain], [p.right for p in self.domain])

    def write(self, file: TextIO, run: dict[str, Any]) -> None:
        """Write one JSON line per answer, with ``run`` identifying model and condition."""
        _write_answers(file, run, "domain", self.domain)
        _write_answers(file, run, "general", self.general)


@dataclass(frozen=True)
class Justifications:
    """Scores by the rules of instruction_following.py, and the answers they were applied to."""

    scores: dict[str, Any]
    answers: list[Prediction]

    def write(self, file: TextIO, run: dict[str, Any]) -> None:
        """Write one JSON line per answer as :meth:`Marks.write` does, with part "justified"."""
        _write_answers(file, run, "justified", self.answers)


def _write_answers(
    file: TextIO, run: dict[str, Any], part: str, predictions: list[Prediction]
) -> None:
    for prediction in predictions:
        row = run | {"part": part} | asdict(prediction)
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


class Candidate:
    """One encoder taking an exam: it encodes the images once, for all language models.

    Args:
        prior: code frequencies for pruning.
        seed: of random pruning, which is one fixed draw per image.
        quantized: whether language models read codes or the encoder's plain features.
        task: name of the task in progress reports.
        journal: where codes and answers are saved as they come.
        name: of the encoder in the journal.
        processes: share the work; each has all codes and answers.
        pace: is told how fast this process encodes.

    Raises:
        DataError: an image is missing or corrupt.
    """

    def __init__(
        self,
        exam: Exam,
        tower: DiscreteVisionTower,
        prior: TokenPrior | None = None,
        seed: int = 0,
        quantized: bool = True,
        *,
        task: str = "",
        on_progress: OnProgress = ignore_progress,
        journal: Journal | None = None,
        name: str = "",
        processes: Processes = ALONE,
        pace: EncodingPace | None = None,
    ):
        self.exam = exam
        self.journal = journal
        self.processes = processes
        total = len(exam.domain.images) + len(() if exam.general is None else exam.general.images)
        encoded = 0

        def tokens(part: str, asked: QuestionSet) -> VisualTokens:
            return VisualTokens(
                tower,
                asked.images,
                prior,
                seed,
                quantized,
                file=None if journal is None else journal.codes(f"{name}-{part}"),
                on_images=lambda done, _: on_progress(task, encoded + done, total),
                processes=processes,
                pace=pace,
            )

        self.domain = tokens("domain", exam.domain)
        encoded = len(exam.domain.images)
        self.general = None if exam.general is None else tokens("general", exam.general)

    def answer(
        self,
        language_model: AlignedLanguageModel,
        keep_ratio: float = 1.0,
        selector: Selector = "full",
        *,
        run: Mapping[str, Any] | None = None,
        task: str = "",
        on_progress: OnProgress = ignore_progress,
    ) -> Marks:
        """Answer all questions with ``language_model``, which reads the kept tokens.

        Args:
            run: identifies these answers in the journal.

        Returns:
            Marks with the scores of :func:`~craft.evaluation.four_option.summarize` and
            ``general``, which is None if nothing measures forgetting.
        """
        general = self.exam.general
        asked_general = [] if general is None else general.questions
        total = len(self.exam.domain.questions) + len(asked_general)
        on_progress(task, 0, total)
        answers: list[list[Prediction]] = []
        for part, tokens, questions in (
            ("domain", self.domain, self.exam.domain.questions),
            ("general", self.general, asked_general),
        ):
            before = sum(map(len, answers))
            answers.append(
                []
                if tokens is None
                else answer_questions(
                    language_model,
                    tokens.view(keep_ratio, selector),
                    questions,
                    **self._journal(run, part),
                    processes=self.processes,
                    on_batch=lambda done, _, before=before: on_progress(task, before + done, total),
                )
            )
        domain, forgetting = answers
        scores = summarize(domain)
        scores["general"] = accuracy(forgetting)
        scores["n"]["general"] = len(forgetting)
        return Marks(scores, domain, forgetting)

    def likelihood(
        self,
        language_model: AlignedLanguageModel,
        keep_ratio: float = 1.0,
        selector: Selector = "full",
    ) -> float | None:
        """Per cent of the domain's multiple-choice questions whose most likely letter is right."""
        asked = [q for q in self.exam.domain.questions if q.options]
        visual = self.domain.view(keep_ratio, selector)
        scores = option_log_likelihoods(language_model, visual, asked, processes=self.processes)
        return likelihood_accuracy(scores, asked)

    def justify(
        self,
        language_model: AlignedLanguageModel,
        keep_ratio: float = 1.0,
        selector: Selector = "full",
        *,
        run: Mapping[str, Any] | None = None,
    ) -> Justifications:
        """Ask the domain's multiple-choice questions again, with a justification.

        Args:
            run: identifies these answers in the journal.
        """
        asked = ask_for_reasons(self.exam.domain.questions)
        given = answer_questions(
            language_model,
            self.domain.view(keep_ratio, selector),
            asked,
            max_new_tokens=JUSTIFICATION_TOKENS,
            **self._journal(run, "justified"),
            processes=self.processes,
        )
        marks = [examine(q, p.given) for q, p in zip(asked, given, strict=True)]
        return Justifications(summarize_justified(marks), given)

    def kept(self, keep_ratio: float, selector: Selector = "full") -> Tensor:  # [n, H, W] bool
        """Which patches of the domain's images pruning keeps."""
        return self.domain.kept(keep_ratio, selector)

    def _journal(self, run: Mapping[str, Any] | None, part: str) -> dict[str, Any]:
        """Arguments that make :func:`answer_questions` read from and write to the journal."""
        if self.journal is None:
            return {}
        run = run or {}
        return {
            "known": self.journal.given(run, part),
            "on_answers": partial(self.journal.add, run, part),
        }
