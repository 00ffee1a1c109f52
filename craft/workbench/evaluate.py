"""Examining an encoder through language models that share its codebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from craft.data.domains.domain import Domain
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.four_option import by_class
from craft.evaluation.results import PREDICTIONS, EvaluationResults
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.family.plugged import PluggedEncoder
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.prior import TokenPrior
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.versions import environment
from craft.runtime.whole_file import open_whole
from craft.settings.choices import Selector
from craft.settings.exams import ExamSettings

#: The condition of the encoder that nobody adapted, on all tokens.
PRETRAINED = "pretrained"


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
    on_progress: OnProgress = ignore_progress,
) -> EvaluationResults:
    """Examine an encoder; writes ``results.json`` and ``predictions.jsonl``.

    Args:
        encoder: from :meth:`~craft.family.family.ModelFamily.plug`.
        names: language models to read it; a language model of its own reads it instead of them.
        probe: measures forgetting; without, ``general`` is None.
        settings: what is asked. With ``pretrained``, the same is asked of the pretrained encoder,
            on all tokens and through the family's language models, and other conditions have their
            gain over it; it costs one more encoding and the answers. ``likelihood`` and ``justify``
            examine with :mod:`~craft.evaluation.likelihood` and
            :mod:`~craft.evaluation.instruction_following` too.
        prior: instead of the encoder's own.

    Raises:
        CraftError: no such language model, no prior to prune by, or fewer general questions than
            the probe can do with.
    """
    settings = settings or ExamSettings()
    ratios, selector = settings.keep_ratios, settings.selector
    tower, own = encoder.tower, encoder.own_language_model
    language_models = [family.language_model(name) for name in names] if own is None else [own]
    general = None
    if probe is not None:
        general = probe.questions(settings.general_images, tower.image_size, "report")
    exam = Exam.of(domain, tower.image_size, general, settings.test_limit)
    quantized = encoder.reads == "codes"
    pack_marks: dict[str, dict[str, Marks]] = {}
    scores: dict[str, dict[str, Any]] = {}
    out.mkdir(parents=True, exist_ok=True)
    with open_whole(out / PREDICTIONS) as predictions:
        sitting = _Sitting(domain.name, predictions, settings, on_progress)
        candidate = Candidate(
            exam,
            tower,
            prior or encoder.prior,
            settings.seed,
            quantized,
            task=f"{domain.name}: encoding",
            on_progress=on_progress,
        )
        if settings.prunes:
            candidate.domain.order(selector)  # a missing prior fails before anything long starts
        for model in language_models:
            scores[model.name], pack_marks[model.name] = {}, {}
            for ratio in ratios:
                condition = f"keep_{ratio}"
                marks, found = sitting.examine(candidate, model, condition, ratio, selector)
                scores[model.name][condition] = found
                pack_marks[model.name][condition] = marks
        if settings.pretrained and encoder.pack is not None:
            candidate = Candidate(
                exam,
                family.pretrained_tower(),
                seed=settings.seed,
                quantized=quantized,
                task=f"{domain.name}: encoding with the pretrained encoder",
                on_progress=on_progress,
            )
            for name in pack_marks:
                if name not in family.names:  # a language model of the pack's own
                    continue
                model = family.language_model(name)
                before, found = sitting.examine(candidate, model, PRETRAINED)
                for condition, marks in pack_marks[name].items():
                    scores[name][condition]["gain"] = marks.gain_over(before)
                scores[name] = {PRETRAINED: found} | scores[name]
    results = EvaluationResults.of(
        domain=domain.name,
        models=scores,
        settings=settings.model_dump()
        | {
            "method": "zero_shot" if encoder.pack is None else encoder.pack.method,
            "general_images": 0 if general is None else len(general.questions),
        },
        encoder_hash=tensor_hash(tower.state_dict()),
        codebook_fingerprint=family.codebook.fingerprint,
        versions=environment(),
    )
    results.save(out)
    return results


@dataclass(frozen=True)
class _Sitting:
    """How every encoder is examined."""

    domain: str
    predictions: TextIO
    settings: ExamSettings
    on_progress: OnProgress

    def examine(
        self,
        candidate: Candidate,
        model: AlignedLanguageModel,
        condition: str,
        keep_ratio: float = 1.0,
        selector: Selector = "full",
    ) -> tuple[Marks, dict[str, Any]]:
        """Answers, written down, and their scores."""
        run = {"model": model.name, "condition": condition}
        marks = candidate.answer(
            model,
            keep_ratio,
            selector,
            task=f"{self.domain}: {model.name}, {condition}",
            on_progress=self.on_progress,
        )
        marks.write(self.predictions, run)
        scores = marks.scores | {"classes": by_class(marks.domain)}
        if self.settings.likelihood:
            scores["likelihood"] = candidate.likelihood(model, keep_ratio, selector)
        if self.settings.justify:
            justified = candidate.justify(model, keep_ratio, selector)
            justified.write(self.predictions, run)
            scores["justified"] = justified.scores
        return marks, scores
