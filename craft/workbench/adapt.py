"""Making an encoder pack: adapt a copy of a family's encoder to a domain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from craft.corpus.count import count_prior
from craft.data.domains.domain import Domain
from craft.evaluation.retention import RetentionProbe
from craft.evaluation.validation_gain import ValidationGain
from craft.family.family import ModelFamily
from craft.family.layout import LANGUAGE_MODEL
from craft.models.encoder_pack import EncoderPack
from craft.runtime.progress import OnProgress, ignore_progress
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig
from craft.training.adapt import CHECKPOINTS, AdaptationResult, adapt
from craft.training.records.checkpoint import CheckpointDirectory
from craft.training.rehearsal import Rehearsal, rehearse
from craft.training.trainee import TrainableTable


def adapt_pack(
    family: ModelFamily,
    surrogate: str,
    domain: Domain,
    config: CraftConfig,
    directory: Path,
    probe: RetentionProbe | None = None,
    *,
    task: str = "adapting",
    resume: bool = False,
    on_start: Callable[[TrainableTable], None] | None = None,
    on_begin: Callable[[int, int], None] = lambda step, steps: None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[AdaptationResult, EncoderPack]:
    """Adapt a copy of the base encoder, count the domain's prior with it, save both as a pack.

    Of an encoder that trains adapters, the pack holds those alone, and the base encoder's hash. A
    method that trains the projector or the language model leaves the encoder as it is, and its
    result in the pack's ``language_model``.

    Args:
        directory: becomes the pack, with the settings and the log of its training.
        probe: what should not be forgotten; without, weights are chosen on the domain alone.
        task: what on_progress is told while steps are made; other phases have names of their own.
        resume, on_start, on_begin: as for :func:`~craft.training.adapt.adapt`.

    Raises:
        CraftError: no such language model.
        OSError: the pack could not be written; the message says which checkpoint is kept.
    """
    language_model = family.language_model(surrogate)
    own = METHODS[config.method].trains in ("projector", "language_model")
    if own:
        language_model = copy.deepcopy(language_model)
    general = None
    if probe is not None:
        general = probe.questions(config.validation_images, family.image_size, "select")

    def begin(step: int, steps: int) -> None:
        on_begin(step, steps)
        if step < steps:
            on_progress(task, step, steps)

    def phase(name: str, done: int, total: int) -> None:
        on_progress(f"{domain.name}: {name}", done, total)

    adapted = adapt(
        family.pretrained_tower(),
        language_model,
        family.siglip,
        domain,
        config,
        directory,
        general=general,
        text_tokenizer=family.text_tokenizer(config),
        resume=resume,
        device=family.device,
        on_start=on_start,
        on_begin=begin,
        on_step=lambda step, steps, _: on_progress(task, step, steps),
        on_phase=phase,
    )
    tower: Any = adapted.tower
    prior = count_prior(
        tower,
        domain.train.images,
        on_images=partial(phase, "counting the token prior"),
    )
    phase("saving the pack", 0, 1)
    answers = adapted.answers
    pack = EncoderPack.of(
        tower,
        prior,
        base=None if adapted.tower.config.heba is None else family.pretrained_tower(),
        domain=domain.name,
        surrogate=surrogate,
        heldout_classes=domain.heldout,
        blend=adapted.blend,
        code_flip_rate=adapted.code_flip_rate,
        validation=str(ValidationGain.of(answers.before, answers.after, answers.images)),
        models=family.origin,
        config=config.model_dump(),
    )
    if PartialState().is_main_process:
        try:
            pack.save(directory)
            if own:
                language_model.save_pretrained(directory / LANGUAGE_MODEL)
        except OSError as error:
            raise OSError(f"{error}; {_what_is_kept(directory)}") from error
    phase("saving the pack", 1, 1)
    return adapted, pack


def rehearse_pack(
    family: ModelFamily, surrogate: str, domain: Domain, config: CraftConfig
) -> Rehearsal:
    """The first step of :func:`adapt_pack`, on copies of the models; nothing is written."""
    return rehearse(
        family.pretrained_tower(),
        copy.deepcopy(family.language_model(surrogate)),
        family.siglip,
        domain,
        config,
        family.text_tokenizer(config),
        family.device,
    )


def _what_is_kept(directory: Path) -> str:
    """What of a training whose pack could not be written is still there."""
    root = directory / CHECKPOINTS
    steps = CheckpointDirectory(root).steps()
    if not steps:
        return "checkpoint.every=0 left no checkpoint, so the training is lost"
    return f"the training is kept, to step {steps[-1]}, in {root}: go on from it with --resume auto"
