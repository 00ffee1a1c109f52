"""Custom surrogates: a language model learns to read a frozen tower's codes (paper, sec. 8).

There are two stages, as for VILA-U and LLaVA: the projector alone on captions, then the projector
and the language model on instructions. Encoder and codebook stay fixed, so that a model aligned
here reads every encoder adapted on this codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, SiglipModel

from craft.data.domains.domain import Domain
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel, require_end_token
from craft.models.loading import load_model, load_tokenizer
from craft.models.projector import Projector
from craft.models.prompt_template import PromptTemplate
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.choices import AlignStageName
from craft.settings.methods import ALIGN_STAGES, AlignStage
from craft.settings.training import CraftConfig
from craft.training.adapt import adapt
from craft.training.admission import CHECKPOINTS, admit
from craft.training.records.checkpoint import CheckpointDirectory
from craft.training.records.identity import models_identity, run_hash
from craft.training.result import AdaptationResult
from craft.training.trainee import TrainableTable


@dataclass(frozen=True)
class Encoder:
    """The frozen part: a tower with its codebook, and the SigLIP pair it came from."""

    tower: DiscreteVisionTower
    siglip: SiglipModel


def new_language_model(
    language_model: Path | str,
    tower: DiscreteVisionTower,
    *,
    name: str,
    template: PromptTemplate | None = None,
    seed: int = 0,
) -> AlignedLanguageModel:
    """Load a language model and give it a random projector of VILA-U's kind, ready for alignment.

    Args:
        language_model: directory of any transformers causal language model with its tokenizer.
        template: text around image and question; by default that of the tokenizer's chat template,
            or the bare question if it has none.
        seed: of the projector.

    Raises:
        CraftError: there is no such model, its files cannot be read, or its tokenizer has no end
            token.
    """
    what = "the language model"
    model: Any = load_model(AutoModelForCausalLM, language_model, what, dtype=torch.float32)
    tokenizer = load_tokenizer(language_model, what)
    require_end_token(tokenizer, language_model)
    with own_random_numbers(torch.device("cpu"), seed):
        projector = Projector(tower.codebook.dim, model.get_input_embeddings().embedding_dim)
    template = template or PromptTemplate.of_chat(tokenizer)
    fingerprint = tower.codebook.fingerprint
    aligned = AlignedLanguageModel(model, projector, tokenizer, fingerprint, name, template)
    return aligned.eval().requires_grad_(False)


def align(
    language_model: AlignedLanguageModel,
    encoder: Encoder,
    data: Mapping[AlignStageName, Domain],
    config: CraftConfig,
    directory: Path,
    *,
    resume: bool = False,
    on_ready: Callable[[], object] = lambda: None,
    on_start: Callable[[TrainableTable], None] | None = None,
    on_begin: Callable[[AlignStageName, int, int], None] = lambda stage, step, steps: None,
    on_step: Callable[[AlignStageName, int, int], None] = lambda stage, step, steps: None,
    on_phase: OnProgress = ignore_progress,
) -> dict[AlignStageName, AdaptationResult]:
    """Train ``language_model`` in place, stage by stage, with the trainer that adapts encoders.

    Args:
        data: training data by stage; either stage may be left out.
        config: of both stages, see :func:`~craft.settings.reading.read_align_settings`; its
            ``method`` is ignored.
        directory: gets one folder per stage, with settings, log and checkpoints.
        resume: resume an interrupted call; a finished stage is not trained again.
        on_ready: called once, by the first process, before anything is written; see
            :func:`~craft.training.adapt.adapt`.
        on_begin: called with stage, step and number of steps before the first step; the step is
            that of the checkpoint the stage resumes from, or 0.
        on_step: called with stage, step and number of steps after every step.
        on_phase: progress of the work before and after a stage's steps.

    Raises:
        CodebookMismatchError: the language model belongs to another codebook.
        CraftError: no data, or an unknown stage; or as for :func:`~craft.training.adapt.adapt`, for
            any stage, before anything is written.
        RuntimeError: see :func:`~craft.training.adapt.adapt`.
    """
    if not data or set(data) - set(ALIGN_STAGES):
        raise CraftError(f"data must be for some of {', '.join(ALIGN_STAGES)}, got {list(data)}")
    stages: dict[AlignStageName, AlignStage] = {
        name: recipe for name, recipe in ALIGN_STAGES.items() if name in data
    }
    tower = encoder.tower
    tower.codebook.require_fingerprint(language_model.codebook_fingerprint)
    tower.codebook = tower.codebook.restrict(config.codebook.chosen)
    # Of the language model as it is now: what a stage begins with follows from that and from what
    # the stages before it learn from. So a later stage, too, can be refused before the first.
    models = models_identity(tower, language_model, encoder.siglip)
    identities: dict[AlignStageName, dict[str, str]] = {}
    trained = 0
    for number, (stage, recipe) in enumerate(stages.items()):
        identities[stage] = models
        admission = admit(
            models,
            data[stage],
            config,
            directory / stage,
            recipe,
            resume=resume,
            device=tower.device,
            on_phase=lambda name, *counts, stage=stage: on_phase(f"{stage}: {name}", *counts),
        )
        if admission.found is not None and trained < number:
            raise CraftError(
                f"{directory / stage} holds a checkpoint of step {admission.found.step}, but a "
                "stage before it has none; start anew in another directory, or with --force"
            )
        trained += admission.found is not None
        before = run_hash(admission.settings, admission.identity)
        models = models | {f"{stage} stage before it": before}
        del admission  # the tensors of a checkpoint

    def ready() -> None:
        on_ready()
        if not resume:  # the first stage's go after this, so that none is left without them
            for stage in ALIGN_STAGES.keys() - {next(iter(stages))}:
                CheckpointDirectory(directory / stage / CHECKPOINTS).clear()

    results: dict[AlignStageName, AdaptationResult] = {}
    for stage, recipe in stages.items():
        results[stage] = adapt(
            tower,
            language_model,
            encoder.siglip,
            data[stage],
            config,
            directory / stage,
            recipe=recipe,
            resume=resume,
            device=tower.device,
            models=identities[stage],
            on_ready=(lambda: None) if results else ready,
            on_start=on_start,
            on_begin=partial(on_begin, stage),
            on_step=lambda step, steps, _, stage=stage: on_step(stage, step, steps),
            on_phase=lambda name, *counts, stage=stage: on_phase(f"{stage}: {name}", *counts),
        )
    return results
