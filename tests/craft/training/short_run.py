"""An adaptation of a few steps on random images, for tests that start their own processes.

``python -m tests.craft.training.short_run MODELS OUT [KEY=VALUE ...]`` runs it and writes the
encoder to ``final.safetensors`` and the first step's gradients to ``gradients.safetensors``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import PartialState
from safetensors.torch import save_file

from craft.data.domains.class_domain import ClassDomain
from craft.data.images.image_set import ImageSet
from craft.data.images.store import TensorStore
from craft.family.family import ModelFamily
from craft.settings.training import CraftConfig
from craft.training.adapt import adapt
from craft.training.result import AdaptationResult
from craft.training.training_run import TrainingRun
from tests.craft.training.same_training import smooth_updates

SETTINGS = (
    "steps=4",
    "batch=8",
    "warmup=0",
    "blend=false",
    "validate_every=2",
    "validation_images=6",
    "checkpoint.every=1",
)


def short_config(*settings: str) -> CraftConfig:
    """:data:`SETTINGS` with changes, of which later ones take precedence.

    A user's settings are read differently and must not contain ones without effect; these are for
    all methods, including the stages of ``craft align``.
    """
    values: dict[str, Any] = {}
    for text in (*SETTINGS, *settings):
        key, _, value = text.partition("=")
        section, _, name = key.rpartition(".")
        into = values.setdefault(section, {}) if section else values
        into[name] = yaml.safe_load(value)
    return CraftConfig(**values)


def random_domain(images: int = 32) -> ClassDomain:
    """Eight classes of random images, two of them held out."""
    generator = torch.Generator().manual_seed(0)
    names = [f"thing {chr(97 + i) * 2}" for i in range(8)]

    def part(name: str, classes: list[str], count: int) -> ImageSet:
        labels = [classes[i % len(classes)] for i in range(count)]
        pixels = torch.randint(0, 256, (count, 3, 24, 24), generator=generator, dtype=torch.uint8)
        ids = [f"{name}-{i}" for i in range(count)]
        same = [name] * count
        return ImageSet("random", "object", TensorStore(pixels), ids, labels, same, same, same)

    seen = names[:6]
    return ClassDomain(
        name="random",
        subject="object",
        classes=names,
        heldout=names[6:],
        train=part("train", seen, images),
        val=part("val", seen, 6),
        test=part("test", names, 8),
    )


def short_run(
    models: ModelFamily,
    out: Path,
    settings: tuple[str, ...] = (),
    *,
    resume: bool = False,
    on_start: Callable[[Any], None] | None = None,
) -> AdaptationResult:
    """Run with :data:`SETTINGS` and changes."""
    return adapt(
        models.pretrained_tower(),
        models.language_model("llama"),
        models.siglip,
        random_domain(),
        short_config(*settings),
        out,
        resume=resume,
        on_start=on_start,
    )


def keep_first_gradients(path: Path) -> None:
    """Make all later runs save the gradients of their first step, before clipping."""
    original = TrainingRun.gradients

    def gradients(self: TrainingRun, first: bool) -> Any:
        result = original(self, first)
        if first and self.accelerator.is_main_process:
            found = self.strategy.gradients()
            save_file({n: g.clone() for n, g in found.items() if g is not None}, path)
        return result

    TrainingRun.gradients = gradients


def main() -> None:
    models, out, *settings = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    keep_first_gradients(Path(out) / "gradients.safetensors")
    with smooth_updates():
        result = short_run(ModelFamily(Path(models)), Path(out), tuple(settings))
    if PartialState().is_main_process:
        save_file(dict(result.tower.state_dict()), Path(out) / "final.safetensors")


if __name__ == "__main__":
    main()
