"""Adapt a copy of a family's encoder to a domain and save it as an encoder pack."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from craft.corpus.count import count_prior
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import MANIFEST, DomainManifest
from craft.evaluation.retention import RetentionProbe
from craft.evaluation.validation_gain import ValidationGain
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.models.pack_card import LANGUAGE_MODEL
from craft.runtime.directory_lock import directory_lock
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.whole_file import remove_unfinished
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig
from craft.training.adapt import adapt
from craft.training.admission import CHECKPOINTS
from craft.training.records.checkpoint import CheckpointDirectory
from craft.training.rehearsal import Rehearsal, rehearse
from craft.training.result import AdaptationResult
from craft.training.trainee import TrainableTable


def adapt_pack(
    family: ModelFamily,
    surrogate: str,
    domain: Domain,
    config: CraftConfig,
    directory: Path,
    probe: RetentionProbe | None = None,
    *,
    manifest: DomainManifest | None = None,
    task: str = "adapting",
    resume: bool = False,
    on_ready: Callable[[], object] = lambda: None,
    on_start: Callable[[TrainableTable], None] | None = None,
    on_begin: Callable[[int, int], None] = lambda step, steps: None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[AdaptationResult, EncoderPack]:
    """Adapt a copy of the base encoder, count the domain's prior with it and save both as a pack.

    If the encoder trains adapters, the pack holds only these and the base encoder's hash. A method
    that trains the projector or the language model leaves the encoder unchanged and saves its
    result as the pack's ``language_model``.

    Args:
        directory: becomes the pack, together with the settings and the log of its training. It is
            locked before anything is written; a refused call writes nothing.
        probe: measures forgetting; without it, weights are chosen on the domain alone.
        manifest: of a domain read from a user's data; becomes part of the pack.
        task: the task name that on_progress receives during training; other phases have their own.
        resume, on_ready, on_start, on_begin: as for :func:`~craft.training.adapt.adapt`.

    Raises:
        CraftError: no such language model; another process is writing to ``directory``; see also
            :func:`~craft.training.adapt.adapt`.
        OSError: the pack could not be written; the message names the checkpoint that is kept, or
            the place where the pack was saved instead.
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

    with ExitStack() as held:

        def ready() -> None:
            held.enter_context(directory_lock(directory))
            remove_unfinished(directory)
            on_ready()

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
            manifest=manifest,
            on_ready=ready,
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
        others: dict[str, Callable[[Path], Any]] = {}
        if own:
            others[LANGUAGE_MODEL] = language_model.save_pretrained
        if manifest is not None:
            others[MANIFEST] = manifest.save
        if PartialState().is_main_process:
            _save(pack, directory, others, config.step_count(len(domain)))
        phase("saving the pack", 1, 1)
    return adapted, pack


def rehearse_pack(
    family: ModelFamily, surrogate: str, domain: Domain, config: CraftConfig
) -> Rehearsal:
    """Compute the first step of :func:`adapt_pack` on copies of the models; write nothing."""
    return rehearse(
        family.pretrained_tower(),
        copy.deepcopy(family.language_model(surrogate)),
        family.siglip,
        domain,
        config,
        family.text_tokenizer(config),
        family.device,
    )


def _save(
    pack: EncoderPack, directory: Path, others: dict[str, Callable[[Path], Any]], steps: int
) -> None:
    """Save a pack; if that fails and no final checkpoint could rebuild it, save it elsewhere.

    Raises:
        OSError: it is not in ``directory``; the message says where the pack or its checkpoint is.
    """
    try:
        pack.save(directory, others)
    except OSError as error:
        root = directory / CHECKPOINTS
        kept = CheckpointDirectory(root).steps()[-1:]
        if kept == [steps]:
            raise OSError(
                f"{error}; the checkpoint of the last step, {steps}, is kept in {root}: finish "
                "from it with --resume auto"
            ) from error
        for place in (Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
            other = place / f"{directory.name}-{os.getpid()}"
            try:
                pack.save(other, others)
            except OSError:
                continue
            raise OSError(f"{error}; the pack is in {other} instead") from error
        raise OSError(
            f"{error}; there is no checkpoint of the last step, and the pack could be saved "
            "nowhere else, so the training is lost"
        ) from error
