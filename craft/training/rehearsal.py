"""A dry run: everything is loaded and one step is computed, but nothing is updated or written."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase, SiglipModel

from craft.data.domains.domain import Domain
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.memory import peak_memory
from craft.settings.training import CraftConfig
from craft.training.distributed.processes import make_accelerator
from craft.training.records.trackers import require_trackers
from craft.training.trainee import TrainableTable
from craft.training.training_run import TrainingRun


@dataclass(frozen=True)
class Rehearsal:
    """What a run would do.

    ``seconds`` is the time of the first step's passes, the slowest; ``memory`` is the peak of the
    process so far, or of the GPU, in MiB.
    """

    table: TrainableTable
    steps: int
    examples: int
    prompt: str
    answer: str
    losses: dict[str, float]
    gradient_norms: dict[str, float]
    seconds: float
    memory: float

    def facts(self) -> dict[str, str]:
        """One line each, for people."""
        return {
            "trains": str(self.table).removeprefix("trains: "),
            "steps": f"{self.steps}, {self.examples} training examples",
            "first prompt": self.prompt,
            "first answer": self.answer,
            "losses": " ".join(f"{k}={v:.4g}" for k, v in self.losses.items()),
            "gradient norms": " ".join(f"{k}={v:.4g}" for k, v in self.gradient_norms.items()),
            "first step": f"{self.seconds:.2f} s",
            "memory": f"{self.memory:.0f} MiB",
        }


def rehearse(
    tower: DiscreteVisionTower,
    surrogate: AlignedLanguageModel,
    siglip: SiglipModel,
    domain: Domain,
    config: CraftConfig,
    text_tokenizer: PreTrainedTokenizerBase | None = None,
    device: torch.device | None = None,
) -> Rehearsal:
    """Run forward and backward passes of the first step; arguments and errors as for `adapt`.

    ``tower`` and ``surrogate`` are used up: pass fresh copies.
    """
    tower.codebook.require_fingerprint(surrogate.codebook_fingerprint)
    tower.codebook = tower.codebook.restrict(config.codebook.chosen)
    require_trackers(config.log)
    accelerator = make_accelerator(config, device)
    run = TrainingRun(tower, surrogate, siglip, domain, config, accelerator, text_tokenizer)
    beginning = run.batches.state()
    lesson = run.batches.lessons()[0]
    run.batches.restore(beginning)
    losses: dict[str, float] = {}
    norms: dict[str, float] = {}
    started = time.monotonic()
    with contextlib.closing(run):
        run.prepare()
        if run.trained:
            losses, norms = run.gradients(first=True)
    return Rehearsal(
        table=TrainableTable.of(run.trained),
        steps=run.steps,
        examples=len(domain),
        prompt=lesson.prompt,
        answer=lesson.answer,
        losses=losses,
        gradient_norms=norms,
        seconds=time.monotonic() - started,
        memory=peak_memory(run.accelerator.device),
    )
