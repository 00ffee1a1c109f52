"""``craft.adapt``: from data to an encoder pack. The command `craft adapt` calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.domains.user_data import DataRequest
from craft.data.readers import ReadOptions
from craft.errors import CraftError
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.models.pack_card import CARD
from craft.runtime.whole_file import require_room
from craft.settings.choices import Distractors, PresetName
from craft.settings.reading import as_assignments, read_settings
from craft.settings.training import CraftConfig
from craft.training.admission import CHECKPOINTS
from craft.training.records.checkpoint import CheckpointDirectory
from craft.training.rehearsal import Rehearsal
from craft.workbench import adapt as adapting
from craft.workbench.domains import new_domain
from craft.workbench.listener import Listener
from craft.workbench.opening import (
    Family,
    General,
    opened,
    retention_probe,
)
from craft.workbench.requirements import (
    language_model,
    require_enough_questions,
    require_trainable,
)
from craft.workbench.run_directory import note_run, require_run_directory


def adapt(
    data: Domain | DataRequest | Path | str,
    out: Path | str,
    *,
    family: Family = None,
    surrogate: str | None = None,
    subject: str | None = None,
    settings: CraftConfig | Mapping[str, Any] | None = None,
    preset: PresetName = "craft",
    distractors: Distractors = "random",
    option_file: Path | None = None,
    general: General = None,
    resume: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> EncoderPack:
    """Adapt a family's encoder to data and save it as an encoder pack.

    Under torchrun every process makes the same call; they share each step, and the first one
    writes.

    Args:
        data: a path in any format that `craft data check` understands, a request that says how to
            read one, or a domain.
        out: the directory that becomes the pack.
        family: the models or their directory; by default those that come with the package.
        surrogate: name of the language model to adapt with; by default the family's main one.
        subject: noun that questions use for what is shown, when ``data`` is a path of images by
            class.
        settings: a complete :class:`~craft.settings.training.CraftConfig`, or single values by the
            dotted names that `craft settings` lists, such as ``{"steps": 100}``.
        preset: settings to start from, unless ``settings`` is complete.
        distractors, option_file: choose the wrong options of the test questions, see
            :func:`~craft.workbench.domains.new_domain`.
        general: data or a probe that measures forgetting while weights are chosen; by default the
            data that the models' manifest names, if it is in their directory.
        resume: resume the run in ``out``, if there is one.
        force: write to ``out`` whatever it holds.
        listener: receives notices and progress.

    Returns:
        The saved pack.

    Raises:
        DataError: the data cannot be read.
        CraftError: an invalid setting, name or directory; words the models do not know.
        OSError: ``out`` cannot be written.

    Example:
        >>> pack = craft.adapt("photos/", "my-pack", subject="bird")  # doctest: +SKIP
    """
    out, listener = Path(out), listener or Listener()
    config = _config(settings, preset)
    require_trainable(config)
    resuming = require_run_directory(out, "adapt", resume=resume, force=force)
    _require_checkpoint(out, resuming, force)
    models = opened(family)
    weights = models.siglip.vision_model.state_dict().values()
    require_room(out, sum(x.nbytes for x in weights), "the encoder pack")
    plan = _planned(
        data, models, surrogate, subject, config, distractors, option_file, general, listener
    )
    command = {"command": "adapt", "domain": plan.domain.name, "surrogate": plan.surrogate}
    noted = command | {"config": config.model_dump()}
    task = f"{plan.domain.name}: adapting with {plan.surrogate}"
    listener.images_per_step(task, config.batch)
    result, pack = adapting.adapt_pack(
        models,
        plan.surrogate,
        plan.domain,
        config,
        out,
        plan.probe,
        manifest=plan.manifest,
        task=task,
        resume=resume,
        on_ready=lambda: note_run(out, noted, resume=resume, force=force),
        on_start=listener.trains,
        on_begin=lambda step, steps: listener.begins("", step, steps),
        on_progress=listener.progress,
    )
    listener.adapted(result, config, plan.probe is not None)
    return pack


def rehearse(
    data: Domain | DataRequest | Path | str,
    *,
    family: Family = None,
    surrogate: str | None = None,
    subject: str | None = None,
    settings: CraftConfig | Mapping[str, Any] | None = None,
    preset: PresetName = "craft",
    distractors: Distractors = "random",
    option_file: Path | None = None,
    general: General = None,
    listener: Listener | None = None,
) -> Rehearsal:
    """Do everything that :func:`adapt` does up to and including its first step; write nothing.

    Arguments and errors as for :func:`adapt`.
    """
    config = _config(settings, preset)
    require_trainable(config)
    models, listener = opened(family), listener or Listener()
    plan = _planned(
        data, models, surrogate, subject, config, distractors, option_file, general, listener
    )
    return adapting.rehearse_pack(models, plan.surrogate, plan.domain, config)


@dataclass(frozen=True)
class _Plan:
    """The inputs of an adaptation: its surrogate, its domain and its retention probe."""

    surrogate: str
    domain: Domain
    manifest: DomainManifest | None
    probe: RetentionProbe | None


def _planned(
    data: Domain | DataRequest | Path | str,
    family: ModelFamily,
    surrogate: str | None,
    subject: str | None,
    config: CraftConfig,
    distractors: Distractors,
    option_file: Path | None,
    general: General,
    listener: Listener,
) -> _Plan:
    """Check what can be checked without the data, then read the data."""
    name = language_model(family, surrogate, "surrogate")
    family.codebook.restrict(config.codebook.chosen)
    texts = family.text_tokenizer(config)  # fails before data is read if it is missing
    if not isinstance(general, (Path, str)):
        require_enough_questions(config, general)
    if isinstance(data, (Path, str)):
        data = DataRequest(Path(data), subject=subject, reading=ReadOptions())
    elif subject is not None:
        raise CraftError("subject goes with a path; a request or a domain has its own")
    manifest = None
    if isinstance(data, DataRequest):
        with listener.reading():
            data, manifest = new_domain(
                data,
                family,
                language_models=[name],
                text_tokenizer=texts,
                distractors=distractors,
                option_file=option_file,
            )
        if manifest.account is not None:
            listener.data(manifest.account)
    elif distractors != "random" or option_file is not None:
        raise CraftError(
            "distractors and option_file go with data to be read; a domain has its own"
        )
    probe = retention_probe(general, family, [name], listener)
    require_enough_questions(config, probe)
    return _Plan(name, data, manifest, probe)


def _config(settings: CraftConfig | Mapping[str, Any] | None, preset: PresetName) -> CraftConfig:
    """Complete settings as they are; single values checked like those of the command line."""
    if isinstance(settings, CraftConfig):
        return settings
    return read_settings(preset, None, as_assignments(settings))


def _require_checkpoint(out: Path, resuming: bool, force: bool) -> None:
    """Refuse to resume a finished run that has no checkpoints, which would train it again.

    Raises:
        CraftError: there is such a run in ``out``.
    """
    finished = (out / CARD).is_file() and not CheckpointDirectory(out / CHECKPOINTS).steps()
    if resuming and finished and not force:
        raise CraftError(
            f"--out {out} holds a pack and no checkpoint to resume from; choose another directory, "
            "or --force to train again and replace it"
        )
