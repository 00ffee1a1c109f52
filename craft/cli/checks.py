"""What can be refused before data is read or a model is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from craft.errors import CraftError, MissingPackageError
from craft.settings.closest import did_you_mean

if TYPE_CHECKING:
    from craft.evaluation.retention import RetentionProbe
    from craft.family.family import ModelFamily
    from craft.settings.training import CraftConfig


def require_shares(ratio: float | list[float] | None) -> float | list[float] | None:
    """A callback for keep ratios; raises CraftError for one that is not a share."""
    for share in ratio if isinstance(ratio, list) else [ratio]:
        if share is not None and not 0 < share <= 1:
            raise CraftError(f"keep_ratio must be in (0, 1], got {share}")
    return ratio


def require_finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """A callback for options that are numbers; their bounds let NaN and infinity pass."""
    if value is not None and not math.isfinite(value):
        least = getattr(param, "min", None)
        bound = "" if least is None else f" >= {least:g}"
        raise CraftError(f"{param.opts[0]} must be a finite number{bound}, got {value}")
    return value


def require_language_model(family: ModelFamily, option: str, name: str) -> None:
    """Raises CraftError if there is no such language model; names those there are."""
    if name not in family.names:
        raise CraftError(
            f"{option} must be one of {', '.join(family.names)} (in {family.directory}), got "
            f"{name!r}{did_you_mean(name, family.names)}"
        )


def language_model(family: ModelFamily, option: str, asked: str | None) -> str:
    """The language model asked for; without, the family's main one.

    Raises:
        CraftError: no such one, or several and none of them asked for; names those there are.
    """
    if asked is None:
        if family.main is None:
            raise CraftError(
                f"{option} is needed: {family.directory} has the language models "
                f"{', '.join(family.names) or '(none)'}"
            )
        return family.main
    require_language_model(family, option, asked)
    return asked


def language_models(family: ModelFamily, asked: str) -> list[str]:
    """The names that --llm stands for: all of them, or one; errors as above."""
    if asked == "all":
        return list(family.names)
    require_language_model(family, "--llm", asked)
    return [asked]


def require_owner(owner: str, given: dict[str, Any]) -> None:
    """Raises CraftError if an option was given that does nothing without ``owner``."""
    idle = [name for name, value in given.items() if value]
    if idle:
        raise CraftError(f"{idle[0]} belongs to {owner}, which is not given; leave {idle[0]} out")


def require_effect_of_pruning(
    ratios: Sequence[float], selector: str, seed: int = 0, prior: Path | None = None
) -> None:
    """Raises CraftError if a choice about pruning was made that nothing would follow."""
    below = "add a --keep-ratio below 1, or leave it out"
    if min(ratios) == 1 and selector != "full":
        raise CraftError(f"--selector {selector} has no effect while all tokens are kept; {below}")
    if min(ratios) == 1 and prior is not None:
        raise CraftError(f"--prior has no effect while all tokens are kept; {below}")
    if seed and "random" not in selector:
        raise CraftError(
            f"--seed {seed} has no effect: selector {selector} draws nothing; choose a random one, "
            "or leave it out"
        )


def require_trainable(config: CraftConfig) -> None:
    """Check what training with these settings needs of this machine.

    Raises:
        CraftError: a package that is not installed, or a batch that the processes cannot share.
    """
    from craft.training.records.trackers import require_trackers

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
    """Raises CraftError unless validation has an image of each kind of the general world."""
    if probe is not None and config.validation_images < probe.least:
        raise CraftError(
            f"validation_images={config.validation_images} is too few: what measures forgetting "
            f"needs at least {probe.least}"
        )
