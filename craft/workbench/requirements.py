"""Checks that need neither data nor loaded models."""

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
    """Raises CraftError, naming the available language models, if there is no such one.

    Args:
        what: its role in the message, such as "surrogate".
    """
    if name not in family.names:
        raise CraftError(
            f"{what} must be one of {', '.join(family.names)} (in {family.directory}), got "
            f"{name!r}{did_you_mean(name, family.names)}"
        )


def language_model(family: ModelFamily, asked: str | None, what: str = "language model") -> str:
    """The requested language model, or by default the family's main one.

    Raises:
        CraftError: no such one, or several of which none was requested; names the available ones.
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
    """Check that this machine has what training with these settings needs.

    Raises:
        CraftError: a package is not installed, or the processes cannot split the batch evenly.
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
            f"batch={config.batch} cannot be split among {processes} processes with "
            f"hardware.accumulate={config.hardware.accumulate}; make it a multiple of {parts}"
        )


def require_enough_questions(config: CraftConfig, probe: RetentionProbe | None) -> None:
    """Raises CraftError if there are too few validation images for the retention probe."""
    if probe is not None and config.validation_images < probe.least:
        raise CraftError(
            f"validation_images={config.validation_images} is too few: measuring forgetting needs "
            f"at least {probe.least}"
        )
