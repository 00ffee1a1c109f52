"""The whole method on the pocket world: adapt on a domain, plug into another model, prune.

For each domain and seed, an encoder is adapted with one language model, the surrogate, and examined
with all language models, before and after, with all visual tokens and with fewer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from craft.data.domains.class_domain import ClassDomain
from craft.data.images.store import shown
from craft.data.questions import seeded
from craft.errors import CraftError
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.results import PREDICTIONS
from craft.family.family import ModelFamily
from craft.pocket.demo.example import Example
from craft.pocket.demo.results import (
    ADAPTED,
    Adaptation,
    Condition,
    DemoResults,
    DemoSettings,
    DomainResults,
    over_domains,
    over_seeds,
)
from craft.pocket.domains import load_domain
from craft.pocket.retention import PocketProbe
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.versions import environment
from craft.runtime.whole_file import open_whole
from craft.settings.choices import Selector
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig
from craft.workbench.adapt import adapt_pack
from craft.workbench.requirements import (
    require_enough_questions,
    require_language_model,
    require_trainable,
)

_EXAMPLES = 8


@dataclass
class DemoRun:
    """``results`` is the content of results.json; ``examples`` are test images drawn at random."""

    results: DemoResults
    examples: list[Example] = field(default_factory=list)


def require_demo(config: CraftConfig, models: ModelFamily, surrogate: str) -> None:
    """Check a demo before anything is written.

    Raises:
        CraftError: the method trains no encoder, there is no such language model, this machine or
            the demo's questions do not allow the settings, or the models lack SigLIP's tokenizer.
    """
    if METHODS[config.method].trains not in ("encoder", None):
        raise CraftError(
            f"a demo plugs an encoder into every language model, and method={config.method} trains "
            "no encoder; use craft adapt and craft evaluate"
        )
    require_trainable(config)
    require_language_model(models, surrogate, "surrogate")
    models.text_tokenizer(config)
    require_enough_questions(config, PocketProbe())


def run_demo(
    domains: Sequence[str],
    out: Path,
    seeds: Sequence[int],
    config: CraftConfig,
    models: ModelFamily,
    *,
    surrogate: str = "qwen2",
    test_limit: int | None = None,
    general_images: int = 900,
    on_progress: OnProgress = ignore_progress,
) -> DemoRun:
    """Adapt and examine; writes ``results.json``, ``predictions.jsonl`` and the encoder packs.

    ``out/<domain>/seed-<n>`` is an encoder pack with its settings and training log.

    Args:
        seeds: added to ``config.seed``, which determines data order, augmentation and class token;
            each also determines the draw of random pruning. Held-out classes and questions stay the
            same.
        surrogate: the language model to adapt with; all others measure transfer.
        test_limit: number of test images to examine on; None for all.
        general_images: number of views of the general world that measure forgetting.

    Raises:
        CraftError: no such domain, or no domain or seed at all; see also :func:`require_demo`.
    """
    if not domains or not seeds:
        raise CraftError(f"a demo needs a domain and a seed, got {domains=} and {seeds=}")
    require_demo(config, models, surrogate)
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    per_domain: dict[str, DomainResults] = {}
    examples: list[Example] = []
    with open_whole(out / PREDICTIONS) as predictions:
        demo = _Demo(models, surrogate, config, out, predictions, general_images, on_progress)
        for domain in [load_domain(name) for name in domains]:
            exam = Exam.of(domain, demo.general, test_limit)
            per_domain[domain.name], shown = demo.run(domain, exam, seeds)
            examples += shown
    average = {
        name: over_domains([entry.models[name] for entry in per_domain.values()])
        for name in models.names
    }
    results = DemoResults.of(
        domains=per_domain,
        average=average,
        seeds=list(seeds),
        settings=DemoSettings(
            surrogate=surrogate,
            test_limit=test_limit,
            general_images=general_images,
            config=config.model_dump(),
        ),
        codebook_fingerprint=models.codebook.fingerprint,
        base_encoder_hash=tensor_hash(demo.base.state_dict()),
        versions=environment(),
        seconds=time.monotonic() - started,
    )
    results.save(out)
    return DemoRun(results, examples)


class _Demo:
    """State shared by all domains and seeds of a run."""

    def __init__(
        self,
        models: ModelFamily,
        surrogate: str,
        config: CraftConfig,
        out: Path,
        predictions: TextIO,
        general_images: int,
        on_progress: OnProgress,
    ):
        self.models = models
        self.surrogate = surrogate
        self.config = config
        self.out = out
        self.predictions = predictions
        self.on_progress = on_progress
        self.quantized = METHODS[config.method].quantized
        self.base = models.pretrained_tower().requires_grad_(False)
        self.probe = PocketProbe()
        self.general = self.probe.questions(general_images, models.image_size, "report")

    def run(
        self, domain: ClassDomain, exam: Exam, seeds: Sequence[int]
    ) -> tuple[DomainResults, list[Example]]:
        """Results of one domain, and examples of the first seed."""
        started = time.monotonic()
        before = self._answers(
            Candidate(exam, self.base, quantized=self.quantized),
            {"zero_shot": (1.0, "full")},
            f"{domain.name}, zero-shot",
        )
        self._log(domain.name, None, before)
        seconds = {"zero_shot": time.monotonic() - started}
        tables, adaptations, examples = [], [], []
        for seed in seeds:
            started = time.monotonic()
            adapted, pack = adapt_pack(
                self.models,
                self.surrogate,
                domain,
                self.config.model_copy(update={"seed": self.config.seed + seed}),
                self.out / domain.name / f"seed-{seed}",
                self.probe,
                task=f"{domain.name}, seed {seed}: adapting with {self.surrogate}",
                on_progress=self.on_progress,
            )
            trained = time.monotonic()
            candidate = Candidate(exam, adapted.tower, pack.prior, seed, self.quantized)
            after = self._answers(candidate, ADAPTED, f"{domain.name}, seed {seed}")
            self._log(domain.name, seed, after)
            marks = {name: before[name] | after[name] for name in self.models.names}
            tables.append({n: {c: m.scores for c, m in marks[n].items()} for n in marks})
            adaptations.append(
                Adaptation(
                    seed=seed,
                    encoder_hash=pack.encoder_hash,
                    blend=adapted.blend,
                    history=adapted.history,
                    gradient_norms=adapted.gradient_norms,
                    frozen_hashes=adapted.frozen_hashes,
                )
            )
            seconds[f"adapt_seed_{seed}"] = trained - started
            seconds[f"evaluate_seed_{seed}"] = time.monotonic() - trained
            examples = examples or _examples(domain, candidate, marks)
        entry = DomainResults(
            models={
                name: over_seeds(
                    "surrogate" if name == self.surrogate else "transfer",
                    seeds,
                    [table[name] for table in tables],
                )
                for name in self.models.names
            },
            classes=len(domain.classes),
            heldout_classes=domain.heldout,
            adaptations=adaptations,
            seconds=seconds,
        )
        return entry, examples

    def _answers(
        self,
        candidate: Candidate,
        conditions: Mapping[Condition, tuple[float, Selector]],
        task: str,
    ) -> dict[str, dict[Condition, Marks]]:
        """Language model -> condition -> marks."""
        return {
            name: {
                condition: candidate.answer(
                    self.models.language_model(name),
                    ratio,
                    selector,
                    task=f"{task}: {name}, {condition}",
                    on_progress=self.on_progress,
                )
                for condition, (ratio, selector) in conditions.items()
            }
            for name in self.models.names
        }

    def _log(
        self, domain: str, seed: int | None, answers: dict[str, dict[Condition, Marks]]
    ) -> None:
        """Write every answer, one per line, so that every number can be recomputed."""
        for model, conditions in answers.items():
            for condition, marks in conditions.items():
                run = {"domain": domain, "seed": seed, "model": model, "condition": condition}
                marks.write(self.predictions, run)


def _examples(
    domain: ClassDomain, candidate: Candidate, marks: dict[str, dict[Condition, Marks]]
) -> list[Example]:
    """Test images drawn at random, not chosen for their answers, half from held-out classes."""
    questions = candidate.exam.domain.questions
    rng = seeded("examples", domain.name)
    kept = candidate.kept(*ADAPTED["adapted_keep_0.8"])
    codes = candidate.domain.first_level()
    size = candidate.domain.tower.image_size
    chosen: list[int] = []
    for heldout in (False, True):
        rows = [i for i, q in enumerate(questions) if q.heldout == heldout]
        chosen += sorted(rng.sample(rows, min(_EXAMPLES // 2, len(rows))))
    return [
        Example(
            domain=domain.name,
            label=questions[i].label,
            heldout=questions[i].heldout,
            prompt=questions[i].prompt,
            answer=questions[i].answer,
            image=shown(candidate.exam.domain.images, [i], size)[0],
            codes=codes[i],
            kept=kept[i],
            answers={
                name: {c: m.domain[i] for c, m in conditions.items()}
                for name, conditions in marks.items()
            },
        )
        for i in chosen
    ]
