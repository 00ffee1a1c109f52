"""What can be refused before data is read or a model is loaded."""

from __future__ import annotations

import os
from importlib.util import find_spec

from craft.errors import CraftError, MissingPackageError
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.settings.closest import did_you_mean
from craft.settings.training import CraftConfig
from craft.training.records.trackers import require_trackers


def require_language_model(family: ModelFamily, name: str, what: str = "language model") -> None:
    """Raises CraftError if there is no such language model; names those there are.

    Args:
        what: the language model is wanted for.
    """
    if name not in family.names:
        raise CraftError(
            f"{what} must be one of {', '.join(family.names)} (in {family.directory}), got "
            f"{name!r}{did_you_mean(name, family.names)}"
        )


def language_model(family: ModelFamily, asked: str | None, what: str = "language model") -> str:
    """The language model asked for; without, the family's main one.

    Raises:
        CraftError: no such one, or several and none of them asked for; names those there are.
    """
    if asked is None:
        if family.main is None:
            raise CraftError(
                f"name a {what}: {family.directory} has the language models "
                f"{', '.join(family.names) or '(none)'}"
            )
        return family.main
    require_language_model(family, asked, what)
    return asked


def require_trainable(config: CraftConfig) -> None:
    """Check what training with these settings needs of this machine.

    Raises:
        CraftError: a package that is not installed, or a batch that the processes cannot share.
    """
    require_trackers(config.log)
    lora = config.method == "llm_lora" or config.encoder == "lora"
    if lora and find_spec("peft") is None:
        raise MissingPackageError(
            "LoRA needs peft, which is not installed; pip install 'peft>=0.21'"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    parts = processes * config.hardware.accumulate
    if config.batch % parts:
        raise CraftError(
            f"batch={config.batch} cannot be shared by {processes} processes with "
            f"hardware.accumulate={config.hardware.accumulate}; make it a multiple of {parts}"
        )


def require_enough_questions(config: CraftConfig, probe: RetentionProbe | None) -> None:
    """Raises CraftError unless there are enough validation images for what measures forgetting."""
    if probe is not None and config.validation_images < probe.least:
        raise CraftError(
            f"validation_images={config.validation_images} is too few: what measures forgetting "
            f"needs at least {probe.least}"
        )
