"""Examine an encoder through language models that share its codebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from craft.data.domains.domain import Domain
from craft.data.images.pace import EncodingPace
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.four_option import by_class
from craft.evaluation.journal import Journal
from craft.evaluation.results import EvaluationResults, written_together
from craft.evaluation.retention import RetentionProbe
from craft.evaluation.visual_tokens import require_prior
from craft.family.family import ModelFamily
from craft.family.layout import SIGLIP
from craft.family.plugged import PluggedEncoder
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.processes import ALONE, Processes
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.settings.choices import Selector
from craft.settings.exams import ExamSettings
from craft.workbench.exam_identity import encoder_identity, exam_identity

#: Condition of the encoder before adaptation, with all tokens.
PRETRAINED = "pretrained"
#: Noted with the versions of results: codes may differ in near-ties from those without.
COMPILED = {"encoder": "torch.compile"}


def evaluate_pack(
    encoder: PluggedEncoder,
    family: ModelFamily,
    domain: Domain,
    out: Path,
    *,
    names: Sequence[str],
    probe: RetentionProbe | None = None,
    settings: ExamSettings | None = None,
    prior: TokenPrior | None = None,
    compiled: bool = False,
    processes: Processes = ALONE,
    pace: EncodingPace | None = None,
    on_progress: OnProgress = ignore_progress,
) -> EvaluationResults:
    """Examine an encoder; writes ``results.json`` and ``predictions.jsonl``.

    An interrupted call resumes where it stopped when it is made again.

    Args:
        encoder: from :meth:`~craft.family.family.ModelFamily.plug`.
        names: language models to read it; if the encoder has its own language model, that one reads
            it instead.
        probe: measures forgetting; without it, ``general`` is None.
        settings: what is asked. With ``pretrained``, the pretrained encoder is asked the same, with
            all tokens and through the family's language models, and the other conditions report
            their gain over it; this costs one more encoding and the answers. ``likelihood`` and
            ``justify`` add the scores of :mod:`~craft.evaluation.likelihood` and
            :mod:`~craft.evaluation.instruction_following`.
        prior: replaces the encoder's own.
        compiled: whether encoders run through torch.compile, see
            :meth:`~craft.models.vision_tower.DiscreteVisionTower.compile_features`.
        processes: share the work. All of them make this call, and the first one writes.
        pace: measures how fast all of them encode together.

    Raises:
        CraftError: no such language model, no prior to prune by, fewer general questions than the
            probe needs, or another process is writing to ``out``.
        DataError: an image is missing or corrupt.
    """
    settings = settings or ExamSettings()
    ratios, selector = settings.keep_ratios, settings.selector
    tower, own = encoder.tower, encoder.own_language_model
    language_models = [family.language_model(name) for name in names] if own is None else [own]
    general = None
    if probe is not None:
        general = probe.questions(settings.general_images, tower.image_size, "report")
    exam = Exam.of(domain, general, settings.test_limit)
    chosen_prior = prior or encoder.prior
    require_prior(chosen_prior, min(ratios), selector)
    models = [family.directory / name for name in (SIGLIP, *names)]
    models += [] if encoder.own is None else [encoder.own]
    identity = processes.from_main(
        lambda: (
            exam_identity(exam, models)
            | encoder_identity(tower, chosen_prior, encoder.reads)
            | {"selector": selector, "seed": settings.seed, "compiled": compiled}
        )
    )
    encoding = EncodingPace()
    with (
        Journal(out, identity, processes) as journal,
        written_together(out, processes) as (written, predictions),
    ):
        sitting = _Sitting(
            domain.name, predictions, journal, settings, compiled, processes, encoding, on_progress
        )
        candidate = sitting.candidate(exam, encoder, tower, "", chosen_prior)
        marks: dict[str, dict[str, Marks]] = {}
        scores: dict[str, dict[str, Any]] = {}
        for model in language_models:
            scores[model.name], marks[model.name] = {}, {}
            for ratio in ratios:
                condition = f"keep_{ratio}"
                marks[model.name][condition], scores[model.name][condition] = sitting.examine(
                    candidate, model, condition, ratio, selector
                )
        if settings.pretrained and encoder.pack is not None:
            base = family.pretrained_tower()
            candidate = sitting.candidate(exam, encoder, base, PRETRAINED, None)
            for name in marks:
                if name not in family.names:  # the pack's own language model
                    continue
                model = family.language_model(name)
                before, found = sitting.examine(candidate, model, PRETRAINED)
                for condition, after in marks[name].items():
                    scores[name][condition]["gain"] = after.gain_over(before)
                scores[name] = {PRETRAINED: found} | scores[name]
        results = EvaluationResults.of(
            domain=domain.name,
            models=scores,
            settings=settings.model_dump()
            | {
                "method": "zero_shot" if encoder.pack is None else encoder.pack.method,
                "general_images": 0 if general is None else len(general.questions),
            },
            encoder_hash=identity["encoder"],
            codebook_fingerprint=family.codebook.fingerprint,
            versions=environment() | (COMPILED if compiled else {}),
        )
        results.save(written)
        if pace is not None:
            for part in processes.gathered(encoding):
                pace.add(part)
    return results


@dataclass(frozen=True)
class _Sitting:
    """What all encoders of one evaluation share."""

    domain: str
    predictions: TextIO
    journal: Journal
    settings: ExamSettings
    compiled: bool
    processes: Processes
    pace: EncodingPace
    on_progress: OnProgress

    def candidate(
        self,
        exam: Exam,
        encoder: PluggedEncoder,
        tower: DiscreteVisionTower,
        name: str,
        prior: TokenPrior | None,
    ) -> Candidate:
        """A tower, read the way ``encoder`` is read; ``name`` is "" for the encoder's own tower."""
        if self.compiled:
            tower.compile_features()
        return Candidate(
            exam,
            tower,
            prior,
            self.settings.seed,
            encoder.reads == "codes",
            task=f"{self.domain}: encoding" + (f" with the {name} encoder" if name else ""),
            on_progress=self.on_progress,
            journal=self.journal,
            name=name or "pack",
            processes=self.processes,
            pace=self.pace,
        )

    def examine(
        self,
        candidate: Candidate,
        model: AlignedLanguageModel,
        condition: str,
        keep_ratio: float = 1.0,
        selector: Selector = "full",
    ) -> tuple[Marks, dict[str, Any]]:
        """Answer, write the answers to the predictions, and score them."""
        run = {"model": model.name, "condition": condition}
        marks = candidate.answer(
            model,
            keep_ratio,
            selector,
            run=run,
            task=f"{self.domain}: {model.name}, {condition}",
            on_progress=self.on_progress,
        )
        marks.write(self.predictions, run)
        scores = marks.scores | {"classes": by_class(marks.domain)}
        if self.settings.likelihood:
            scores["likelihood"] = candidate.likelihood(model, keep_ratio, selector)
        if self.settings.justify:
            justified = candidate.justify(model, keep_ratio, selector, run=run)
            justified.write(self.predictions, run)
            scores["justified"] = justified.scores
        return marks, scores
