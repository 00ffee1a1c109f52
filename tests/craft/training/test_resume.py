"""Interrupted runs resume with the same weights and log, or are clearly refused."""

import json
import logging
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator

from craft.runtime.tensor_hash import tensor_hash
from craft.training.admission import CHECKPOINTS
from craft.training.records.checkpoint import CheckpointDirectory
from craft.training.training_run import TrainingRun
from tests.craft.training.short_run import short_run

ROOT = Path(__file__).parents[3]


def run_module(name, *arguments):
    """Run a script beside this file in a new process with one thread; returns its JSON output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"tests.craft.training.{name}", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.fuzz)])
def test_runs_killed_at_random_instants_end_with_the_same_weights(kills, tiny_models_dir, tmp_path):
    found = run_module("killed_runs", tiny_models_dir, tmp_path / "runs", kills, kills)
    assert found["same"]
    assert found["kills"] == kills
    assert found["resumed"] > 0


def stop_after(monkeypatch, steps):
    """Make the next run die in step ``steps`` + 1."""
    done = []
    original = TrainingRun.step

    def step(run, first=False):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return original(run, first)

    monkeypatch.setattr(TrainingRun, "step", step)


def interrupted(models, out, monkeypatch, steps, settings=()):
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            short_run(models, out, settings)


@pytest.mark.parametrize(
    "settings",
    [
        ("select=best", "validate_every=1"),
        ("encoder=lora", "lora.rank=2", "lora.dropout=0.3"),
        ("blend=true", "checkpoint.every=2"),
        ("method=ldifs",),
        ("encoder=heba", "heba.fast_prob=0.5", "blend=true"),
        ("encoder=heba_discrete", "optimizer=sgd", "select=best"),
        ("cls_attention=full", "hardware.accumulate=2"),
    ],
    ids=lambda settings: settings[0],
)
def test_every_kind_of_run_resumes_bit_for_bit(tiny_models, tmp_path, monkeypatch, settings):
    whole = short_run(tiny_models, tmp_path / "whole", settings)
    interrupted(tiny_models, tmp_path / "cut", monkeypatch, 3, settings)
    resumed = short_run(tiny_models, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed == (2 if "checkpoint.every=2" in settings else 3)
    assert tensor_hash(resumed.tower.state_dict()) == tensor_hash(whole.tower.state_dict())
    assert resumed.history == whole.history
    assert resumed.gradient_norms == whole.gradient_norms


def test_a_checkpoint_is_let_go_of_once_it_is_taken_up(tiny_models, tmp_path, monkeypatch):
    interrupted(tiny_models, tmp_path, monkeypatch, 2)
    load, step = CheckpointDirectory.load, TrainingRun.step
    held, alive = [], []

    def loaded(self):
        found = load(self)
        assert found is not None
        held.append(weakref.ref(found))
        held.extend(weakref.ref(x) for x in found.tensors["weights"].values())
        return found

    def watched(run, first=False):
        alive.append(sum(x() is not None for x in held))
        return step(run, first)

    monkeypatch.setattr(CheckpointDirectory, "load", loaded)
    monkeypatch.setattr(TrainingRun, "step", watched)
    assert short_run(tiny_models, tmp_path, resume=True).resumed == 2
    assert len(held) > 1
    assert alive == [0, 0]


def test_a_finished_run_is_not_repeated(tiny_models, tmp_path):
    first = short_run(tiny_models, tmp_path)
    again = short_run(tiny_models, tmp_path, resume=True)
    assert again.resumed == 4
    assert tensor_hash(again.tower.state_dict()) == tensor_hash(first.tower.state_dict())


def test_without_resume_old_checkpoints_are_deleted(tiny_models, tmp_path, monkeypatch):
    short_run(tiny_models, tmp_path)
    interrupted(tiny_models, tmp_path, monkeypatch, 1)
    assert [x.name for x in (tmp_path / CHECKPOINTS).iterdir()] == ["step-00000001"]


def test_with_nothing_to_resume_a_run_starts(tiny_models, tmp_path):
    assert short_run(tiny_models, tmp_path, ("steps=1",), resume=True).resumed is None


def test_other_settings_are_refused_by_name(tiny_models, tmp_path, monkeypatch):
    interrupted(tiny_models, tmp_path, monkeypatch, 1)
    with pytest.raises(ValueError, match=r"other settings \(lr: 0.0003 -> 0.001\)"):
        short_run(tiny_models, tmp_path, ("lr=1e-3",), resume=True)
    # Settings that change no result may differ.
    short_run(tiny_models, tmp_path, ("checkpoint.keep=1",), resume=True)


def test_another_encoder_is_refused(tiny_models, tmp_path, monkeypatch):
    interrupted(tiny_models, tmp_path, monkeypatch, 1)

    class Other(type(tiny_models)):
        def pretrained_tower(self):
            tower = super().pretrained_tower()
            with torch.no_grad():
                next(tower.parameters()).add_(1)
            return tower

    with pytest.raises(ValueError, match="belongs to another run: not the same encoder; "):
        short_run(Other(tiny_models.directory), tmp_path, resume=True)


def test_a_full_disk_costs_no_checkpoint(tiny_models, tmp_path, monkeypatch):
    """The first checkpoint is written, then the disk takes no more."""
    whole = short_run(tiny_models, tmp_path / "whole")
    save, written = safetensors.torch.save_file, []

    def full(tensors, path, metadata):
        written.append(path)
        if len(written) > 4:  # a checkpoint has three files
            Path(path).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        save(tensors, path, metadata)

    told = r"step 2: .*step-00000002/\w+\.safetensors could not be written: No space left .*; "
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(
            OSError, match=told + "that of step 1 is intact; continue with --resume"
        ):
            short_run(tiny_models, tmp_path / "full")
    assert [x.name for x in (tmp_path / "full" / CHECKPOINTS).iterdir()] == ["step-00000001"]
    resumed = short_run(tiny_models, tmp_path / "full", resume=True)
    assert resumed.resumed == 1
    assert tensor_hash(resumed.tower.state_dict()) == tensor_hash(whole.tower.state_dict())


def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(tiny_models, tmp_path, caplog):
    whole = short_run(tiny_models, tmp_path)
    weights = tmp_path / CHECKPOINTS / "step-00000004" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        resumed = short_run(tiny_models, tmp_path, resume=True)
    assert resumed.resumed == 3
    assert "weights.safetensors is not what was written" in caplog.text
    found = CheckpointDirectory(tmp_path / CHECKPOINTS).load()
    assert found is not None
    assert found.step == 4  # rewritten
    assert tensor_hash(resumed.tower.state_dict()) == tensor_hash(whole.tower.state_dict())


def test_a_refused_run_leaves_an_earlier_one_unchanged(tiny_models, tmp_path):
    short_run(tiny_models, tmp_path, ("steps=1",))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="fp16 needs a loss scale"):
        short_run(tiny_models, tmp_path, ("hardware.shard=true", "hardware.precision=fp16"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_processes_that_see_different_checkpoints_are_refused(tiny_models, tmp_path, monkeypatch):
    """As on two machines whose --out is on different disks."""
    short_run(tiny_models, tmp_path, ("steps=1",))
    monkeypatch.setattr(Accelerator, "gather", lambda self, step: torch.cat([step, step * 0 - 1]))
    with pytest.raises(ValueError, match=r"different steps \(\[1, -1\], -1 being none\)"):
        short_run(tiny_models, tmp_path, ("steps=1",), resume=True)
