"""Run one job: adapt, ask, and record which questions were answered correctly."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from craft.corpus.count import count_prior
from craft.data.domains.class_domain import ClassDomain
from craft.data.questions import QuestionSet
from craft.errors import CraftError
from craft.evaluation.exam import Candidate, Exam
from craft.evaluation.four_option import answer_questions
from craft.evaluation.instruction_following import ask_for_reasons, examine
from craft.evaluation.visual_tokens import Visual
from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.pocket.domains import load_domain
from craft.pocket.reproduction.plan import (
    COMPARED_RATIOS,
    CONTINUOUS_METHODS,
    KEEP_RATIOS,
    MAIN,
    PRETRAINED,
    Job,
    Scale,
)
from craft.pocket.retention import PocketProbe
from craft.runtime.json_cards import CHECKSUM, checksum, read_json, with_checksum
from craft.runtime.stored_files import StoredFileError
from craft.runtime.whole_file import write_json
from craft.settings.methods import METHODS
from craft.training.adapt import adapt

log = logging.getLogger(__name__)

#: Conditions: all tokens, for every encoder; without codes, for the pretrained one.
ALL_TOKENS, CONTINUOUS = "keep 1.0", "continuous"
#: Condition of pruning by the general world's frequencies instead of the domain's.
FOREIGN = "foreign prior"
#: Rules that justifications are marked by.
RULES = ("correct", "present", "relevant", "faithful")
#: Methods whose models are asked for justifications.
_JUSTIFIES = ("craft", *CONTINUOUS_METHODS)


def condition(ratio: float, selector: str) -> str:
    """Name of the condition with this keep ratio and selector."""
    return ALL_TOKENS if ratio == 1 else f"keep {ratio} {selector}"


def run_job(job: Job, scale: Scale, models: ModelFamily, directory: Path, made_of: str) -> Path:
    """Run a job and write ``<job>.json``; an existing file that is undamaged stays as it is.

    Args:
        made_of: hash of the models, for :func:`read_job`.

    In the file, ``answers.<language model>.<condition>`` is a string of ones and zeros, one digit
    per question of the domain; so is ``general``. ``heldout`` marks the questions about held-out
    classes, ``justified.<rule>`` the justifications that pass.
    """
    path = job_file(directory, job)
    if read_job(path, job, scale, made_of) is not None:
        return path
    started = time.monotonic()
    if job.variant == PRETRAINED:
        sheet = _pretrained(job, scale, models)
    else:
        sheet = _adapted(job, scale, models, directory / job.name)
    asked = sheet.candidate.exam.domain.questions
    result = {
        "job": asdict(job),
        "scale": asdict(scale),
        "models": made_of,
        "questions": [q.id for q in asked],
        "heldout": _digits([q.heldout for q in asked]),
        "answers": sheet.answers,
        "general": sheet.general,
        "justified": sheet.justified,
        **sheet.notes,
        "seconds": time.monotonic() - started,
    }
    write_json(path, with_checksum(result), indent=1)
    return path


def job_file(directory: Path, job: Job) -> Path:
    """File of a job's result."""
    return directory / f"{job.name}.json"


def read_job(path: Path, job: Job, scale: Scale, made_of: str) -> dict[str, Any] | None:
    """Read the result of a job; None if there is none, or if it is damaged and must be redone.

    Raises:
        CraftError: it belongs to another scale or to other models.
    """
    if not path.exists():
        return None
    try:
        found = read_json(path, "the result of a job")
    except StoredFileError as error:
        log.warning("%s; the job will run again", error)
        return None
    if found.get(CHECKSUM) != checksum(found) or not _same(found.get("job"), asdict(job)):
        log.warning("%s is not what was written; the job will run again", path)
        return None
    for name, wanted in (("scale", asdict(scale)), ("models", made_of)):
        if not _same(found.get(name), wanted):
            raise CraftError(
                f"{path} is of another {name.removesuffix('s')} ({found.get(name)}) than this run "
                f"({wanted}); choose another --out"
            )
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON, which has no tuples."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass
class _Sheet:
    """The answers of an encoder."""

    candidate: Candidate
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    general: dict[str, dict[str, str]] = field(default_factory=dict)
    justified: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def examine(self, language_model: AlignedLanguageModel, name: str = ALL_TOKENS) -> None:
        """Answer with all tokens, on the domain and on the general world."""
        general, asked = self.candidate.general, self.candidate.exam.general
        assert general is not None  # _exam asks both
        assert asked is not None
        self.ask(language_model, name, self.candidate.domain.view())
        rights = _rights(language_model, general.view(), asked)
        self.general.setdefault(language_model.name, {})[name] = rights

    def ask(self, language_model: AlignedLanguageModel, name: str, visual: Visual) -> None:
        """Answer the domain's questions from ``visual``."""
        rights = _rights(language_model, visual, self.candidate.exam.domain)
        self.answers.setdefault(language_model.name, {})[name] = rights

    def justify(self, language_model: AlignedLanguageModel) -> None:
        """Ask the multiple-choice questions again with "Justify your answer.", and mark by rule."""
        asked = ask_for_reasons(self.candidate.exam.domain.questions)
        given = self.candidate.justify(language_model).answers
        marks = [examine(q, p.given) for q, p in zip(asked, given, strict=True)]
        for rule in RULES:
            self.justified[rule] = _digits([getattr(mark, rule) for mark in marks])

    def prune(self, language_model: AlignedLanguageModel, foreign: Tensor) -> None:
        """Answer at all keep ratios and, at some of them, with other selectors."""
        tokens = self.candidate.domain
        for ratio in KEEP_RATIOS[:-1]:
            for selector in ("full", "random"):
                self.ask(language_model, condition(ratio, selector), tokens.view(ratio, selector))
        for ratio in COMPARED_RATIOS:
            for selector in ("quota_random", "quota_residual"):
                self.ask(language_model, condition(ratio, selector), tokens.view(ratio, selector))
            self.ask(language_model, condition(ratio, FOREIGN), tokens.view(ratio, prior=foreign))


def _pretrained(job: Job, scale: Scale, models: ModelFamily) -> _Sheet:
    exam = _exam(load_domain(job.domain), scale, models)
    sheet = _Sheet(Candidate(exam, models.pretrained_tower()))
    for name in models.names:
        sheet.examine(models.language_model(name))
    sheet.justify(models.language_model(MAIN))
    sheet.candidate = Candidate(exam, models.pretrained_tower(), quantized=False)
    for name in models.names:
        sheet.examine(models.language_model(name), CONTINUOUS)
    return sheet


def _adapted(job: Job, scale: Scale, models: ModelFamily, run_dir: Path) -> _Sheet:
    config = scale.settings(job.changes, job.seed)
    method = METHODS[config.method]
    domain = load_domain(job.domain)
    language_model, names = models.language_model(job.surrogate), list(models.names)
    if method.trains != "encoder":
        language_model, names = copy.deepcopy(language_model), [job.surrogate]
    tower = models.pretrained_tower()
    general = PocketProbe().questions(config.validation_images, tower.image_size, "select")
    adapted = adapt(
        tower,
        language_model,
        models.siglip,
        domain,
        config,
        run_dir,
        general=general,
        text_tokenizer=models.text_tokenizer(config),
    )
    prior = count_prior(adapted.tower, domain.train.images) if job.pruned else None
    candidate = Candidate(
        _exam(domain, scale, models), adapted.tower, prior, job.seed, method.quantized
    )
    sheet = _Sheet(candidate)
    for name in names:
        sheet.examine(language_model if name == job.surrogate else models.language_model(name))
    if job.pruned:
        foreign = models.general_prior()
        if foreign is None:
            raise CraftError(f"{models.directory} lacks the general world's prior")
        sheet.prune(language_model, foreign.probabilities)
    if job.variant in _JUSTIFIES and job.surrogate == MAIN:
        sheet.justify(language_model)
    sheet.notes = {"config": config.model_dump(), "history": adapted.history}
    return sheet


def _exam(domain: ClassDomain, scale: Scale, models: ModelFamily) -> Exam:
    general = PocketProbe().questions(scale.general_images, models.image_size, "report")
    return Exam.of(domain, general, scale.test_images)


def _rights(language_model: AlignedLanguageModel, visual: Visual, asked: QuestionSet) -> str:
    return _digits([p.right for p in answer_questions(language_model, visual, asked.questions)])


def _digits(values: Sequence[bool]) -> str:
    return "".join("01"[value] for value in values)
