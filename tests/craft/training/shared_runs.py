"""Short runs of every kind, for tests that compare one process with two.

``python -m tests.craft.training.shared_runs MODELS OUT fsdp|zero`` writes a directory for each of
:data:`RUNS`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor

from craft.family.family import ModelFamily
from craft.settings.methods import ALIGN_STAGES, METHODS, Recipe
from craft.settings.training import CraftConfig
from craft.training import selection
from craft.training.adapt import adapt
from craft.training.distributed.shards import gathered, local_part
from craft.training.selection import Selection
from craft.training.training_run import TrainingRun
from tests.craft.training.same_training import (
    assert_same,
    assert_same_tensors,
    rerounded,
    smooth_updates,
)
from tests.craft.training.short_run import random_domain, short_config
from tests.craft.training.two_processes import in_two_processes

RUNS: dict[str, tuple[str, ...]] = {
    "craft": ("hardware.accumulate=2", "hardware.grad_checkpoint=true", "clip=0.01"),
    "class_token": ("cls_attention=full", "select=best", "lr=0.003"),
    "ldifs": ("method=ldifs",),
    "lora": ("encoder=lora", "lora.rank=2", "lora.dropout=0"),
    "heba": (
        "encoder=heba_discrete",
        "heba.gate=true",
        "heba.init_up=kaiming_fan_out",
        "blend=true",
    ),
    "llm_lora": ("method=llm_lora", "lora.rank=2", "lora.dropout=0"),
    "projector_ft": ("method=projector_ft",),
    "align": ("stage=instructions",),
    "two_stages": ("stage=instructions",),
    "sgd": ("optimizer=sgd", "lr=0.01", "weight_decay=0.1"),
}
#: Earlier runs of the same models.
BEFORE = {"two_stages": ("stage=captions",)}
BF16 = ("hardware.precision=bf16",)
#: With FSDP, launched by an accelerate config instead of the setting.
LAUNCHED = "lora"
#: Also interrupted after two steps (``<name>-cut``) and resumed (``<name>-resumed``), and
#: interrupted in one process and resumed by two (``<name>-begun-by-one``).
RESUMED = ("craft", "align")


def run(
    models: ModelFamily,
    out: Path,
    settings: tuple[str, ...],
    *,
    stop: int = 0,
    resume: bool = False,
    before: tuple[str, ...] | None = None,
) -> None:
    """Train and save the weights in ``out``, or die after ``stop`` steps.

    Args:
        resume: resume a run that died after two steps.
        before: settings of an earlier run of the same models.
    """
    out.mkdir(exist_ok=True)
    language_model = copy.deepcopy(models.language_model("llama"))
    call = (models.pretrained_tower(), language_model, models.siglip, random_domain())
    if before is not None:
        recipe, config = _recipe(before)
        adapt(*call, config, out / "before", recipe=recipe)
    recipe, config = _recipe(settings)

    def die(step: int, *_: Any) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with (
        pytest.MonkeyPatch.context() as patch,
        smooth_updates(),
        contextlib.suppress(KeyboardInterrupt),
    ):
        _keep(patch, out)
        if config.select == "best":
            # Random models give a letter 0.02 %. The second step's weights are better than the
            # pretrained ones by 0.006, and the fourth's are no better than the second's.
            patch.setattr(selection, "NO_DIFFERENCE", 0.003)
        if config.blend:
            _prefer_half(patch)
        result = adapt(*call, config, out, recipe=recipe, resume=resume, on_step=die)
        assert result.resumed == (2 if resume else None)
        left = [*result.tower.parameters(), *language_model.parameters()]
        assert not any(p._post_accumulate_grad_hooks for p in left)  # DeepSpeed's are removed
        if PartialState().is_main_process:
            save_file(dict(result.tower.state_dict()), out / "tower.safetensors")
            weights = {
                n: p.clone() for n, p in language_model.state_dict().items()
            }  # some are tied
            save_file(weights, out / "language_model.safetensors")


def _recipe(settings: tuple[str, ...]) -> tuple[Recipe, CraftConfig]:
    """The recipe, of a method or a stage of `craft align`, and the settings."""
    config = short_config(*(text for text in settings if not text.startswith("stage=")))
    for name, stage in ALIGN_STAGES.items():
        if f"stage={name}" in settings:
            return stage, config
    return METHODS[config.method], config


def _prefer_half(patch: pytest.MonkeyPatch) -> None:
    """Make the half-way mixture the best.

    Random models know as little after a run as before, so otherwise the pretrained weights would be
    returned, whatever was learnt.
    """
    original = Selection.validate

    def validate(self: Selection, step: int, blend: float = 1.0) -> dict[str, float]:
        entry = original(self, step, blend)
        self.history[-1]["domain_confidence"] = 100 - abs(blend - 0.5)
        return entry

    patch.setattr(Selection, "validate", validate)


def _keep(patch: pytest.MonkeyPatch, out: Path) -> None:
    """Make the run save its first gradients, before clipping, and a process's share of weights."""
    original = TrainingRun.gradients

    def gradients(self: TrainingRun, first: bool) -> Any:
        result = original(self, first)
        if first:
            found = {n: gathered(g) for n, g in self.strategy.gradients().items() if g is not None}
            blocks = {n: p for n, p in self.trained.items() if ".blocks." in n or ".layers." in n}
            held = sum(local_part(p).numel() for p in blocks.values())
            if self.accelerator.is_main_process:
                save_file({n: g.clone() for n, g in found.items()}, out / "gradients.safetensors")
                share = held / max(sum(p.numel() for p in blocks.values()), 1)
                (out / "first.json").write_text(json.dumps({"share": share, "norms": result[1]}))
        return result

    patch.setattr(TrainingRun, "gradients", gradients)


def runs_of_two(models: ModelFamily, out: Path, how: str, **environment: str) -> None:
    """Call this module in two processes, which also resume runs that one process started."""
    for name in RESUMED:
        run(models, out / f"{name}-begun-by-one", RUNS[name], stop=2)
    in_two_processes("shared_runs", models.directory, out, how, **environment)


def first(out: Path) -> dict[str, Any]:
    """What a run saved about its first step."""
    return json.loads((out / "first.json").read_text())


def norms(out: Path) -> dict[str, Tensor]:
    """Norms of the first step's gradients, by loss term."""
    return {term: torch.tensor(norm) for term, norm in first(out)["norms"].items()}


def reroundings(models: ModelFamily, out: Path, name: str) -> list[Path]:
    """Repeat the run in one process with other rounding."""
    return rerounded(lambda to: run(models, to, RUNS[name], before=BEFORE.get(name)), out)


def moved(models: ModelFamily, out: Path) -> bool:
    """Whether a run changed any weights or, for adapters, gates, which start at 0."""
    began = {
        "tower": models.pretrained_tower().state_dict(),
        "language_model": models.language_model("llama").state_dict(),
    }
    return any(
        not torch.equal(x, began[part][name])
        if name in began[part]
        else name.endswith("gate") and bool(x.any())
        for part in began
        for name, x in load_file(out / f"{part}.safetensors").items()
    )


def assert_same_results(found: Path, expected: Path, others: list[Path]) -> None:
    """Check the results in the directories of complete runs."""
    for part in ("tower", "language_model"):
        assert_same(f"{part}.safetensors", found, expected, others)


def assert_same_run(models: ModelFamily, shared: Path, out: Path, name: str) -> None:
    """Check that first gradients, their norms and the results are those of one process."""
    found = shared / name
    run(models, out, RUNS[name], before=BEFORE.get(name))
    assert moved(models, out)  # otherwise the results would always be equal
    others = reroundings(models, out, name)
    assert_same("gradients.safetensors", found, out, others)
    assert_same_results(found, out, others)
    if "hardware.accumulate=2" not in RUNS[name]:  # the norms are of a first part
        assert_same_tensors(norms(found), norms(out), [norms(x) for x in others])


def assert_half_precision(models: ModelFamily, found: Path, out: Path) -> None:
    """Check that the run "bf16" in ``found`` is that of one process, except for the order of sums.

    That matters far less than the difference between bfloat16 and float32.
    """
    for name, settings in (("half", BF16), ("single", ())):
        run(models, out / name, settings)
    path = "gradients.safetensors"
    ours, same, other = (
        load_file(x / path) for x in (found / "bf16", out / "half", out / "single")
    )

    def distance(theirs: dict[str, Tensor]) -> float:
        return sum(float((ours[name] - g).norm()) for name, g in theirs.items())

    assert distance(same) < distance(other) / 3


def assert_resumes(models: ModelFamily, shared: Path, out: Path, name: str) -> None:
    """Check that an interrupted run ends like an uninterrupted one.

    Bit for bit with the same number of processes, and up to rounding with another number, since
    checkpoints do not depend on it.
    """
    for part in ("tower", "language_model"):
        resumed = (shared / f"{name}-resumed" / f"{part}.safetensors").read_bytes()
        assert resumed == (shared / name / f"{part}.safetensors").read_bytes()
    ended = shutil.copytree(shared / f"{name}-cut", out / name)
    run(models, ended, RUNS[name], resume=True)
    run(models, out / "whole", RUNS[name])
    others = reroundings(models, out, name)
    for found in (ended, shared / f"{name}-begun-by-one"):
        assert_same_results(found, out / "whole", others)
    lines = [(x / "train.jsonl").read_text().splitlines() for x in (ended, shared / name)]
    assert len(lines[0]) == len(lines[1])


def main() -> None:
    models, out, how = ModelFamily(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
    if how == "zero":
        # This operation, for CPUs only, would have to be compiled first.
        ops: Any = importlib.import_module("deepspeed.ops")
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
    out.mkdir(exist_ok=True)
    for name in (*RUNS, "bf16"):
        with pytest.MonkeyPatch.context() as patch:
            settings, before = BF16 if name == "bf16" else RUNS[name], BEFORE.get(name)
            if how == "fsdp" and name == LAUNCHED:
                patch.setenv("ACCELERATE_USE_FSDP", "true")
                patch.setenv("FSDP_VERSION", "2")
            elif how == "fsdp":
                settings = ("hardware.shard=true", *settings)
                before = None if before is None else ("hardware.shard=true", *before)
            run(models, out / name, settings, before=before)
    for name in RESUMED:
        settings = (*(("hardware.shard=true",) if how == "fsdp" else ()), *RUNS[name])
        run(models, out / f"{name}-cut", settings, stop=2)
        if PartialState().is_main_process:
            shutil.copytree(out / f"{name}-cut", out / f"{name}-resumed")
        PartialState().wait_for_everyone()
        run(models, out / f"{name}-resumed", settings, resume=True)
        run(models, out / f"{name}-begun-by-one", settings, resume=True)


if __name__ == "__main__":
    main()
