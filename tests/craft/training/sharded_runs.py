"""Short runs of every kind, for test_sharding: in its own process, and in two that share them out.

``python -m tests.craft.training.sharded_runs MODELS OUT`` leaves a directory for each of
:data:`RUNS`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState
from safetensors.torch import save_file

from craft.pocket.zoo import PocketModels
from craft.training.adapt import adapt
from craft.training.settings import read_settings
from craft.training.sharding import local, whole
from craft.training.training_run import TrainingRun
from tests.craft.training.short_run import SETTINGS, random_domain

RUNS: dict[str, tuple[str, ...]] = {
    "craft": ("hardware.accumulate=2", "hardware.grad_checkpoint=true", "clip=0.01"),
    "class_token": ("cls_attention=full", "select=best"),
    "ldifs": ("method=ldifs",),
    "lora": ("encoder=lora", "lora.rank=2", "lora.dropout=0"),
    "heba": ("encoder=heba_discrete", "heba.gate=true", "blend=true"),
    "llm_lora": ("method=llm_lora", "lora.rank=2", "lora.dropout=0"),
    "align": ("method=align",),
}
#: Launched by an accelerate config instead of the setting.
LAUNCHED = "lora"
#: Also cut off after two steps (``<name>-cut``), and gone on with (``<name>-resumed``).
RESUMED = ("craft", "align")


def run(
    models: PocketModels,
    out: Path,
    settings: tuple[str, ...],
    *,
    stop: int = 0,
    resume: bool = False,
) -> None:
    """A run that leaves what it learnt in ``out``, unless it dies after ``stop`` steps."""
    out.mkdir(exist_ok=True)
    reader = copy.deepcopy(models.lvlm("llama"))
    call = (models.base_tower(), reader, models.siglip, random_domain())
    config = read_settings(assignments=[*SETTINGS, *settings])

    def die(step: int, *_: Any) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        _keep(patch, out)
        result = adapt(*call, config, out, resume=resume, on_step=die)
        if PartialState().is_main_process:
            save_file(dict(result.tower.state_dict()), out / "tower.safetensors")
            weights = {n: p.clone() for n, p in reader.state_dict().items()}  # some are tied
            save_file(weights, out / "reader.safetensors")


def _keep(patch: pytest.MonkeyPatch, out: Path) -> None:
    """The run writes its first gradients, before they are clipped, and how much of weights and
    moments a process has."""
    original = TrainingRun.gradients

    def gradients(self: TrainingRun, first: bool) -> Any:
        result = original(self, first)
        if first:
            found = {n: whole(p.grad) for n, p in self.trained.items() if p.grad is not None}
            blocks = {n: p for n, p in self.trained.items() if ".blocks." in n or ".layers." in n}
            held = sum(local(p).numel() for p in blocks.values())
            if self.accelerator.is_main_process:
                save_file({n: g.clone() for n, g in found.items()}, out / "gradients.safetensors")
                share = held / max(sum(p.numel() for p in blocks.values()), 1)
                (out / "first.json").write_text(json.dumps({"share": share, "norms": result[1]}))
        return result

    patch.setattr(TrainingRun, "gradients", gradients)


def main() -> None:
    models, out = PocketModels(Path(sys.argv[1])), Path(sys.argv[2])
    out.mkdir(exist_ok=True)
    for name, settings in RUNS.items():
        if name == LAUNCHED:
            launched = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
            os.environ |= launched
            run(models, out / name, settings)
            for key in launched:
                del os.environ[key]
        else:
            run(models, out / name, ("hardware.shard=true", *settings))
    for name in RESUMED:
        settings = ("hardware.shard=true", *RUNS[name])
        run(models, out / f"{name}-cut", settings, stop=2)
        if PartialState().is_main_process:
            shutil.copytree(out / f"{name}-cut", out / f"{name}-resumed")
        PartialState().wait_for_everyone()
        run(models, out / f"{name}-resumed", settings, resume=True)


if __name__ == "__main__":
    main()
