"""What a checkpoint of an adaptation contains, and how a run resumes from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from craft.errors import CraftError
from craft.settings.methods import AlignStage, Recipe
from craft.settings.training import CraftConfig
from craft.training.records.checkpoint import Checkpoint, CheckpointDirectory
from craft.training.selection import Selection
from craft.training.training_run import TrainingRun


def save_checkpoint(
    checkpoints: CheckpointDirectory,
    step: int,
    run: TrainingRun,
    selection: Selection,
    extra: Mapping[str, Any],
) -> None:
    """Write a checkpoint of a run; all processes must call this, and the first one writes.

    Args:
        extra: what else its state records, as JSON.

    Raises:
        OSError: the checkpoint could not be written.
    """
    tensors, state = run.state()
    if run.accelerator.is_main_process:
        if selection.best is not None:
            tensors["best"] = selection.best[0]
        state |= {
            **extra,
            "history": selection.history,
            "right": [_digits(right) for right in selection.right],
            "best": None if selection.best is None else selection.best[1],
        }
        checkpoints.save(step, tensors, state)
    run.accelerator.wait_for_everyone()


def restore_checkpoint(found: Checkpoint, run: TrainingRun, selection: Selection) -> None:
    """Restore a run and its selection from a checkpoint.

    Raises:
        CraftError: the checkpoint trains other weights than this run.
    """
    run.restore(found)
    selection.history = found.state["history"]
    selection.right = [_answers(digits) for digits in found.state["right"]]
    weights: dict[str, Tensor] | None = found.tensors.get("best")
    if weights is not None:
        selection.best = weights, found.state["best"]


def require_shared(found: Checkpoint | None, accelerator: Accelerator) -> None:
    """Raise CraftError unless all processes resume from the same checkpoint."""
    step = torch.tensor([-1 if found is None else found.step], device=accelerator.device)
    steps = cast(Tensor, accelerator.gather(step)).tolist()
    if len(set(steps)) > 1:
        raise CraftError(
            f"processes see checkpoints of different steps ({steps}, -1 being none); --out must be "
            "on a disk that all of them share"
        )


def recorded_settings(recipe: Recipe, config: CraftConfig) -> dict[str, Any]:
    """The settings as recorded in config.yaml and checkpoints; a stage replaces the method."""
    settings = config.model_dump()
    if isinstance(recipe, AlignStage):
        del settings["method"]
        settings = {"stage": recipe.name} | settings
    return settings


def _digits(right: tuple[bool, ...]) -> str:
    """Answers in the form that checkpoints store."""
    return "".join("01"[answer] for answer in right)


def _answers(digits: str) -> tuple[bool, ...]:
    return tuple(digit == "1" for digit in digits)
