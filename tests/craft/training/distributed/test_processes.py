"""A step is the same for any number of processes and parts."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from craft.settings.training import CraftConfig, HardwareConfig
from craft.training.distributed.processes import make_accelerator
from craft.training.training_run import TrainingRun
from tests.craft.training.same_training import assert_same, rerounded, smooth_updates
from tests.craft.training.short_run import keep_first_gradients, short_run
from tests.craft.training.two_processes import in_two_processes

FILES = ("gradients.safetensors", "final.safetensors")


def run(models, out, settings=()):
    """Save first gradients and final weights of a run in this process."""
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch, smooth_updates():
        patch.setattr(TrainingRun, "gradients", TrainingRun.gradients)  # restored at the end
        keep_first_gradients(out / "gradients.safetensors")
        result = short_run(models, out, settings)
    save_file(result.tower.state_dict(), out / "final.safetensors")
    return out


class Expected(NamedTuple):
    """A run in one piece, and the same run with other rounding."""

    whole: Path
    others: list[Path]

    def check(self, found: Path) -> None:
        for name in FILES:
            assert_same(name, found, self.whole, self.others)


def expected(models, out, settings=()):
    others = rerounded(lambda to: run(models, to, settings), out)
    return Expected(run(models, out / "whole", settings), others)


@pytest.fixture(scope="module")
def alone(tiny_models, tmp_path_factory):
    return expected(tiny_models, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_same_step(tiny_models, alone, parts, tmp_path):
    alone.check(run(tiny_models, tmp_path / "run", (f"hardware.accumulate={parts}",)))


def test_activation_checkpointing_changes_nothing(tiny_models, alone, tmp_path):
    alone.check(run(tiny_models, tmp_path / "run", ("hardware.grad_checkpoint=true",)))
    model = tiny_models.language_model("llama").language_model
    assert not model.is_activation_checkpointing
    assert not any(module.training for module in model.modules())
    assert not model(torch.ones(1, 2, dtype=torch.long)).logits.requires_grad


def test_local_negatives_give_other_gradients(tiny_models, alone, tmp_path):
    """So the equality above is due to negatives from the whole step."""
    found = run(tiny_models, tmp_path / "run", ("hardware.accumulate=4", "negatives=local"))
    with pytest.raises(AssertionError, match="is off by"):
        alone.check(found)


def test_a_literal_answer_loss_can_be_divided_too(tiny_models, tmp_path):
    settings = ("sal_reduction=sample_sum", "commit_levels=final", "cls_attention=full")
    parts = run(tiny_models, tmp_path / "parts", (*settings, "hardware.accumulate=2"))
    expected(tiny_models, tmp_path, settings).check(parts)


def test_two_processes_train_as_one(tiny_models_dir, alone, tmp_path):
    out = tmp_path / "two"
    settings = ("hardware.accumulate=2", "log.trackers=[tensorboard]")  # as in real use
    in_two_processes("short_run", tiny_models_dir, out, *settings)
    alone.check(out)
    lines = (out / "train.jsonl").read_text().splitlines()
    assert sum('"sal"' in line for line in lines) == 5  # one process writes: norms and four steps
    assert len(list((out / "tensorboard").iterdir())) == 1


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    config = CraftConfig(batch=6, hardware=HardwareConfig(accumulate=4))
    with pytest.raises(ValueError, match=r"batch=6 cannot be split evenly.*multiple of 4"):
        make_accelerator(config)
