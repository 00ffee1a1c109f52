"""Whether a training may begin, or go on: all that can be refused, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.questions import QuestionSet
from craft.runtime.progress import OnProgress, ignore_progress
from craft.settings.methods import Recipe
from craft.settings.training import CraftConfig
from craft.training.distributed.processes import make_accelerator
from craft.training.records.checkpoint import Checkpoint, CheckpointDirectory
from craft.training.records.identity import data_identity, require_same_run
from craft.training.records.trackers import require_trackers
from craft.training.run_checkpoint import recorded_settings, require_shared
from craft.training.selection import validation_sets

CHECKPOINTS = "checkpoints"
#: Seconds to check the images before the first step, if there is no earlier run to lose.
PATIENCE = 30.0


@dataclass(frozen=True)
class Admission:
    """A run that may begin.

    ``settings`` are what config.yaml and checkpoints hold; ``identity`` is what else makes it this
    run; ``steps`` have a checkpoint, and ``found`` is the one that it goes on from, if any.
    """

    settings: dict[str, Any]
    identity: dict[str, str]
    accelerator: Accelerator
    checkpoints: CheckpointDirectory
    steps: list[int]
    found: Checkpoint | None


def admit(
    models: Mapping[str, str],
    domain: Domain,
    config: CraftConfig,
    run_dir: Path,
    recipe: Recipe,
    *,
    general: QuestionSet | None = None,
    resume: bool = False,
    device: torch.device | None = None,
    manifest: DomainManifest | None = None,
    on_phase: OnProgress = ignore_progress,
) -> Admission:
    """Check a run, and find what it goes on from; its images are looked at once.

    Args:
        models: hashes of those that it begins with, see
            :func:`~craft.training.records.identity.models_identity`.

    Other arguments and all errors are those of :func:`~craft.training.adapt.adapt`.
    """
    settings = recorded_settings(recipe, config)
    require_trackers(config.log)
    accelerator = make_accelerator(config, device)
    checkpoints = CheckpointDirectory(run_dir / CHECKPOINTS, config.checkpoint.keep)
    steps = checkpoints.steps()
    found = checkpoints.load() if resume else None
    identity = {**models, **data_identity(domain, general, manifest)}
    identity["precision"] = config.hardware.encoding_on(accelerator.device.type)
    if found is not None:
        require_same_run(found, settings, identity)
    require_shared(found, accelerator)
    # An earlier run is only overwritten once all images of the new one are known to be sound.
    patience = None if steps and not resume else PATIENCE
    domain.train.images.prepare(partial(on_phase, "reading the images"), patience)
    for asked in validation_sets(domain, general, config).values():
        asked.images.prepare()
    return Admission(settings, identity, accelerator, checkpoints, steps, found)
