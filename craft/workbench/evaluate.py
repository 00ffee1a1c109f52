"""Examining an encoder through language models that share its codebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from craft.data.domains.domain import Domain
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.four_option import by_class
from craft.evaluation.journal import Journal
from craft.evaluation.results import PREDICTIONS, EvaluationResults
from craft.evaluation.retention import RetentionProbe
from craft.evaluation.visual_tokens import require_prior
from craft.family.family import ModelFamily
from craft.family.plugged import PluggedEncoder
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.pruning import keep_count
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.versions import environment
from craft.runtime.whole_file import open_whole
from craft.settings.choices import Selector
from craft.workbench.exam_identity import exam_identity

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
    keep_ratios: Sequence[float],
    selector: Selector = "full",
    pretrained: bool = True,
    likelihood: bool = False,
    justify: bool = False,
    prior: TokenPrior | None = None,
    seed: int = 0,
    test_limit: int | None = None,
    general_images: int = 900,
    on_progress: OnProgress = ignore_progress,
) -> EvaluationResults:
    """Examine an encoder; writes ``results.json`` and ``predictions.jsonl``.

    A call that was stopped goes on where it was when it is made again.

    Args:
        encoder: from :meth:`~craft.family.family.ModelFamily.plug`.
        names: language models to read it; a language model of its own reads it instead of them.
        probe: measures forgetting on ``general_images`` questions; without, ``general`` is None.
        pretrained: also ask the same of the pretrained encoder, on all tokens and through the
            family's language models; other conditions then have their gain over it. It costs one
            more encoding and the answers.
        likelihood, justify: also examine with :mod:`~craft.evaluation.likelihood` and
            :mod:`~craft.evaluation.instruction_following`.
        prior: instead of the encoder's own.
        seed: of the random selectors.

    Raises:
        CraftError: no such language model, a keep ratio outside (0, 1], no prior to prune by,
            another process that writes to ``out``.
        DataError: an image is missing or corrupt.
    """
    tower, own = encoder.tower, encoder.own_language_model
    language_models = [family.language_model(name) for name in names] if own is None else [own]
    rows, columns = tower.grid
    for ratio in keep_ratios:
        keep_count(rows * columns, ratio)
    general = None
    if probe is not None:
        general = probe.questions(general_images, tower.image_size, "report")
    exam = Exam.of(domain, general, test_limit)
    chosen_prior = prior or encoder.prior
    require_prior(chosen_prior, min(keep_ratios), selector)
    read_by = {name: family.directory / name for name in names}
    identity = exam_identity(
        exam,
        tower,
        read_by if encoder.own is None else read_by | {"own": encoder.own},
        prior=chosen_prior,
        reads=encoder.reads,
        selector=selector,
        seed=seed,
    )
    with Journal(out, identity) as journal:
        with open_whole(out / PREDICTIONS) as predictions:
            sitting = _Sitting(domain.name, predictions, journal, likelihood, justify, on_progress)
            candidate = sitting.candidate(exam, encoder, tower, "", chosen_prior, seed)
            marks: dict[str, dict[str, Marks]] = {}
            scores: dict[str, dict[str, Any]] = {}
            for model in language_models:
                scores[model.name], marks[model.name] = {}, {}
                for ratio in keep_ratios:
                    condition = f"keep_{ratio}"
                    marks[model.name][condition], scores[model.name][condition] = sitting.examine(
                        candidate, model, condition, ratio, selector
                    )
            if pretrained and encoder.pack is not None:
                base = family.pretrained_tower()
                candidate = sitting.candidate(exam, encoder, base, PRETRAINED, None, seed)
                for name in marks:
                    if name not in family.names:  # a language model of the pack's own
                        continue
                    model = family.language_model(name)
                    before, found = sitting.examine(candidate, model, PRETRAINED)
                    for condition, after in marks[name].items():
                        scores[name][condition]["gain"] = after.gain_over(before)
                    scores[name] = {PRETRAINED: found} | scores[name]
        results = EvaluationResults.of(
            domain=domain.name,
            models=scores,
            settings={
                "method": "zero_shot" if encoder.pack is None else encoder.pack.method,
                "selector": selector,
                "keep_ratios": list(keep_ratios),
                "seed": seed,
                "test_limit": test_limit,
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
    journal: Journal
    likelihood: bool
    justify: bool
    on_progress: OnProgress

    def candidate(
        self,
        exam: Exam,
        encoder: PluggedEncoder,
        tower: DiscreteVisionTower,
        name: str,
        prior: TokenPrior | None,
        seed: int,
    ) -> Candidate:
        """A tower that is read as ``encoder`` is; ``name`` is "" for its own."""
        return Candidate(
            exam,
            tower,
            prior,
            seed,
            encoder.reads == "codes",
            task=f"{self.domain}: encoding" + (f" with the {name} encoder" if name else ""),
            on_progress=self.on_progress,
            journal=self.journal,
            name=name or "pack",
        )

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
            run=run,
            task=f"{self.domain}: {model.name}, {condition}",
            on_progress=self.on_progress,
        )
        marks.write(self.predictions, run)
        scores = marks.scores | {"classes": by_class(marks.domain)}
        if self.likelihood:
            scores["likelihood"] = candidate.likelihood(model, keep_ratio, selector)
        if self.justify:
            justified = candidate.justify(model, keep_ratio, selector, run=run)
            justified.write(self.predictions, run)
            scores["justified"] = justified.scores
        return marks, scores
