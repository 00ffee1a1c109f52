"""``craft.align``: teach a user's own language model to read the codes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from craft.data.domains.building import build_domain
from craft.data.domains.domain import Domain
from craft.data.domains.user_data import DataRequest
from craft.data.readers.place import shown
from craft.errors import CraftError
from craft.models.aligned_language_model import CARD, AlignedLanguageModel
from craft.runtime.rank import is_main_process
from craft.runtime.whole_file import require_room
from craft.settings.choices import AlignStageName
from craft.settings.reading import as_assignments, read_align_settings
from craft.settings.training import CraftConfig
from craft.training import align as aligning
from craft.workbench.listener import Listener
from craft.workbench.opening import Family, opened
from craft.workbench.requirements import require_trainable
from craft.workbench.run_directory import require_run_directory, run_directory


def align(
    language_model: Path | str,
    out: Path | str,
    data: Mapping[AlignStageName, Domain | DataRequest | Path | str],
    *,
    family: Family = None,
    name: str | None = None,
    settings: CraftConfig | Mapping[str, Any] | None = None,
    resume: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> AlignedLanguageModel:
    """Align a language model to a family's encoder, for use as a surrogate or for serving.

    Args:
        language_model: directory of a transformers causal language model, or of an aligned one.
        out: the directory that becomes the aligned model.
        data: "captions", which train the projector, and "instructions", which train projector and
            language model: either or both.
        name: what results call it; by default the name it has, or that of ``out``.
        settings: a complete :class:`~craft.settings.training.CraftConfig`, or single values by the
            dotted names that `craft settings` lists; ``method`` is ignored.
        family, resume, force, listener: as for :func:`~craft.workbench.adaptation.adapt`.

    Returns:
        The saved model.

    Raises:
        DataError: the data cannot be read.
        CraftError: no data, no such model, or an invalid setting or directory.
        OSError: ``out`` cannot be written.
    """
    if not data:
        raise CraftError("name what to learn from: --captions, --instructions, or both")
    out, listener = Path(out), listener or Listener()
    if isinstance(settings, CraftConfig):
        config = settings
    else:
        config = read_align_settings(None, as_assignments(settings))
    require_trainable(config)
    require_run_directory(out, "align", resume=resume, force=force)
    models = opened(family)
    encoder = aligning.Encoder(models.pretrained_tower(), models.siglip)
    with listener.reading():
        domains: dict[AlignStageName, Domain] = {
            stage: _domain(given, models.image_size) for stage, given in data.items()
        }
    aligned = _opened_model(Path(language_model), encoder, name, out, config)
    aligned.to(models.device)
    weights = aligned.state_dict().values()
    require_room(out, sum(x.nbytes for x in weights), "the aligned model")
    command = {"command": "align", "language_model": shown(language_model), "stages": list(data)}
    noted = command | {"config": config.model_dump(exclude={"method"})}
    for stage in data:
        listener.images_per_step(f"aligning: {stage}", config.batch)

    def begin(stage: AlignStageName, step: int, steps: int) -> None:
        listener.begins(stage, step, steps)
        if step < steps:
            listener.progress(f"aligning: {stage}", step, steps)

    with ExitStack() as held:
        aligning.align(
            aligned,
            encoder,
            domains,
            config,
            out,
            resume=resume,
            on_ready=lambda: held.enter_context(
                run_directory(out, noted, resume=resume, force=force)
            ),
            on_start=listener.trains,
            on_begin=begin,
            on_step=lambda stage, *counts: listener.progress(f"aligning: {stage}", *counts),
            on_phase=listener.progress,
        )
        if is_main_process():
            aligned.save_pretrained(out)
    return aligned


def _domain(given: Domain | DataRequest | Path | str, size: int) -> Domain:
    if isinstance(given, (Path, str)):
        given = DataRequest(Path(given))
    if not isinstance(given, DataRequest):
        return given
    records = given.read()
    return build_domain(records, given.manifest(records), size)


def _opened_model(
    directory: Path,
    encoder: aligning.Encoder,
    name: str | None,
    out: Path,
    config: CraftConfig,
) -> AlignedLanguageModel:
    """The model with its projector, or with a new one."""
    if not (directory / CARD).is_file():
        return aligning.new_language_model(
            directory, encoder.tower, name=name or out.name, seed=config.seed
        )
    aligned = AlignedLanguageModel.from_pretrained(directory, dtype=torch.float32)
    aligned.name = name or aligned.name
    return aligned
