"""The adaptation loop: the vision encoder learns a domain while everything else stays frozen."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedTokenizerBase, SiglipModel

from craft.adapters.lora import merge_lora
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.questions import QuestionSet
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.whole_file import remove_unfinished, write_text
from craft.settings.methods import METHODS, Recipe
from craft.settings.training import CraftConfig
from craft.training.admission import admit
from craft.training.divergence import divergence
from craft.training.proofs import FrozenProof
from craft.training.records.identity import models_identity
from craft.training.records.pace import Pace
from craft.training.records.run_log import RunLog
from craft.training.records.trackers import Trackers
from craft.training.result import AdaptationResult, ValidationAnswers
from craft.training.run_checkpoint import restore_checkpoint, save_checkpoint
from craft.training.selection import Selection
from craft.training.trainee import TrainableTable
from craft.training.training_run import TrainingRun

log = logging.getLogger(__name__)


def adapt(
    tower: DiscreteVisionTower,
    surrogate: AlignedLanguageModel,
    siglip: SiglipModel,
    domain: Domain,
    config: CraftConfig,
    run_dir: Path,
    *,
    recipe: Recipe | None = None,
    general: QuestionSet | None = None,
    text_tokenizer: PreTrainedTokenizerBase | None = None,
    resume: bool = False,
    device: torch.device | None = None,
    manifest: DomainManifest | None = None,
    models: Mapping[str, str] | None = None,
    on_ready: Callable[[], object] = lambda: None,
    on_start: Callable[[TrainableTable], None] | None = None,
    on_begin: Callable[[int, int], None] = lambda step, steps: None,
    on_step: Callable[[int, int, dict[str, float]], None] | None = None,
    on_phase: OnProgress = ignore_progress,
) -> AdaptationResult:
    """Fine-tune ``tower`` on ``domain`` through the frozen ``surrogate`` (paper, sec. 4).

    Writes ``config.yaml``, ``train.jsonl`` and checkpoints to ``run_dir``. The weights to return
    are chosen on validation images, see :class:`~craft.training.selection.Selection`. Under
    torchrun every process calls this with the same arguments, and the first one writes.

    Args:
        tower: trained in place and left on its current device; pass a fresh copy.
        surrogate: frozen language model that gives L_SAL. The methods ``projector_ft`` and
            ``llm_lora`` train it in place instead of the tower.
        siglip: the frozen pair the tower came from; its text tower embeds the contrastive texts.
        recipe: what trains and on what, by default that of ``config.method``; a stage of
            :func:`~craft.training.align.align` passes its own.
        general: questions that measure forgetting; without them, weights are chosen on the domain
            alone.
        text_tokenizer: of SigLIP's text tower, if it is not the surrogate's.
        resume: resume from the newest checkpoint in ``run_dir``, if there is one. If false,
            checkpoints of an earlier run are deleted.
        device: where to train, see
            :func:`~craft.training.distributed.processes.make_accelerator`.
        manifest: of the domain, if it is a user's data; a run can only be resumed with the same
            one.
        models: what tells this run from runs with other models; by default, hashes of those that
            are passed in.
        on_ready: called by the first process once all checks have passed, before anything is
            written; an exception from it ends the run.
        on_start: called with a table of what trains.
        on_begin: called with (step, steps) before the first step; the step is that of the
            checkpoint that the run resumes from, or 0.
        on_step: called with (step, steps, losses) after every step.
        on_phase: progress of the work before and after the steps.

    Raises:
        CodebookMismatchError: surrogate and tower use different codebooks.
        DataError: images are missing or corrupt.
        CraftError: the checkpoint has other settings, models or data, see
            :mod:`~craft.training.records.identity`; another process wrote one meanwhile; or as for
            :func:`~craft.training.distributed.processes.make_accelerator`. Nothing is written then.
            Also raised if a loss or the encoder's features are not finite.
        OSError: a checkpoint could not be written; the earlier ones are intact.
        RuntimeError: a frozen part changed, or a part that trains did not move.
    """
    recipe = recipe or METHODS[config.method]
    tower.codebook.require_fingerprint(surrogate.codebook_fingerprint)
    tower.codebook = tower.codebook.restrict(config.codebook.chosen)
    admission = admit(
        models or models_identity(tower, surrogate, siglip, text_tokenizer),
        domain,
        config,
        run_dir,
        recipe,
        general=general,
        resume=resume,
        device=device,
        manifest=manifest,
        on_phase=on_phase,
    )
    settings, accelerator = admission.settings, admission.accelerator
    checkpoints, found = admission.checkpoints, admission.found
    # Made here so that it refuses bad input before an earlier run is overwritten.
    run = TrainingRun(tower, surrogate, siglip, domain, config, accelerator, text_tokenizer, recipe)
    if accelerator.is_main_process:
        on_ready()
        if checkpoints.steps() != admission.steps:
            raise CraftError(
                f"another process trained in {run_dir} meanwhile; run the command again"
            )
        run_dir.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run_dir)
        write_text(run_dir / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        checkpoints.tidy()
        if not resume:
            checkpoints.clear()
    accelerator.wait_for_everyone()
    on_phase("encoding the validation images", 0, 1)
    selection = Selection(tower, surrogate, domain, general, config, quantized=recipe.quantized)
    on_phase("encoding the validation images", 1, 1)
    run.prepare()
    selection.surrogate = run.strategy.models.surrogate
    proof = FrozenProof(tower.codebook, **run.frozen(run.strategy.passed))
    processes = {"processes": accelerator.num_processes, "strategy": run.strategy.name}
    table = TrainableTable.of(run.trained)
    log.info("%s", table)
    if on_start is not None:
        on_start(table)
    norms: dict[str, float] = {}
    start = 0
    if found is not None:
        start, norms = found.step, found.state["gradient_norms"]
        restore_checkpoint(found, run, selection)
    log_bytes = found.state["log_bytes"] if found is not None else 0
    resumed = None if found is None else found.step
    # Its weights and moments were copied: several times the encoder's size.
    found, admission = None, replace(admission, found=None)
    identified: dict[str, Any] = {"config": settings, "identity": admission.identity}
    main = accelerator.is_main_process
    with (
        contextlib.closing(run),
        Trackers(config.log, settings, run_dir, resumed=resumed is not None, main=main) as trackers,
        RunLog(run_dir / "train.jsonl", accelerator, trackers, log_bytes) as lines,
    ):
        started = time.monotonic()
        if resumed is None:
            lines.record({"step": 0, "trains": table.rows, **processes})
            on_phase("validating the pretrained encoder", 0, 1)
            lines.record({"step": 0, "code_flip_rate": selection.code_flip_rate()})
            lines.record({"step": 0, "validation": selection.validate(0)})
            on_phase("validating the pretrained encoder", 1, 1)
        on_begin(start, run.steps)
        pace = Pace(start, run.steps, config.batch)
        for step in range(start + 1, run.steps + 1):
            with pace.step(), divergence(step, config.lr):
                losses, first_norms = run.step(first=step == 1)
            if first_norms:
                norms = first_norms
                lines.record({"step": 0, "gradient_norms": norms})
            entry: dict[str, Any] = {"step": step, **losses, "lr": run.schedule.get_last_lr()[0]}
            if step % config.validate_every == 0 or step == run.steps:
                run.strategy.publish()
                with divergence(step, config.lr):
                    entry["validation"] = selection.validate(step)
                entry["seconds"] = time.monotonic() - started
                entry["pace"] = pace.numbers()
            lines.record(entry)
            every = config.checkpoint.every
            if every and (step % every == 0 or step == run.steps):
                extra = identified | {"gradient_norms": norms, "log_bytes": lines.flush()}
                save_checkpoint(checkpoints, step, run, selection, extra)
            if on_step is not None:
                on_step(step, run.steps, losses)
    domain.train.images.prepare(partial(on_phase, "reading the images"))
    blend = _finish(run, selection, on_phase)
    flipped = selection.code_flip_rate()
    run.strategy.close()
    return AdaptationResult(
        tower=tower,
        blend=blend,
        answers=ValidationAnswers(
            before=selection.right[0],
            after=selection.right[selection.taken],
            images=tuple(question.row for question in selection.sets["domain"].questions),
            forgot=selection.forgot,
        ),
        history=selection.history,
        frozen_hashes=proof.check(),
        gradient_norms=norms,
        code_flip_rate=flipped,
        resumed=resumed,
    )


def _finish(run: TrainingRun, selection: Selection, on_phase: OnProgress) -> float:
    """Give the tower the weights to return, without LoRA; returns the share of adapted ones."""
    tower, config = run.tower, run.config
    run.strategy.publish()
    if run.recipe.trains == "encoder":
        selection.take_best()
        if config.encoder == "lora":
            merge_lora(tower)
    if run.recipe.trains == "language_model":
        merge_lora(run.surrogate.language_model)
    tower.eval().requires_grad_(False)
    run.surrogate.eval().requires_grad_(False)
    if run.recipe.trains != "encoder" or not config.blend:
        return 1.0
    return selection.blend(run.steps, partial(on_phase, "mixing with the pretrained weights"))
