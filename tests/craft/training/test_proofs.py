"""In the first step everything that trains moves, and nothing else does."""

from typing import Any

import pytest
import torch
from torch import nn

from craft.training.proofs import MovementCheck
from craft.training.trainee import Trainee
from craft.training.training_run import TrainingRun
from tests.craft.training.short_run import short_run


def setting(*, gradient=True):
    torch.manual_seed(0)
    model, frozen = nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False)
    trained = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3)
    frozen(model(torch.ones(1, 3))).square().sum().backward()
    model.bias.grad = model.bias.grad if gradient else None
    gradients = {name: p.grad for name, p in trained.items()}
    check = MovementCheck(trained, {"reader": frozen}, gradients)
    return model, frozen, optimizer, check


def test_a_plain_step_passes():
    *_, optimizer, check = setting()
    optimizer.step()
    check.check()


def test_a_weight_that_did_not_move_is_named():
    *_, optimizer, check = setting(gradient=False)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"1 of 2 weights that train did not move.*'bias'"):
        check.check()


@pytest.mark.parametrize("how", ["value", "gradient"])
def test_a_frozen_weight_that_was_touched_is_named(how):
    _, frozen, optimizer, check = setting()
    optimizer.step()
    if how == "value":
        with torch.no_grad():
            frozen.weight.add_(0)
    else:
        frozen.weight.grad = torch.zeros(2, 2)
    with pytest.raises(RuntimeError, match=r"1 frozen tensors were written to.*reader\.weight"):
        check.check()


def test_a_run_is_checked(tiny_models, tmp_path, monkeypatch):
    """An optimiser that forgets a block is noticed."""
    groups = Trainee.groups

    def forgetful(trainee, config):
        lost = {id(p) for p in trainee.tower.blocks[0].mlp.parameters()}
        found: list[dict[str, Any]] = groups(trainee, config)
        for group in found:
            group["params"] = [p for p in group["params"] if id(p) not in lost]
        return found

    monkeypatch.setattr(Trainee, "groups", forgetful)
    with pytest.raises(RuntimeError, match=r"weights that train did not move.*blocks\.0\.mlp"):
        short_run(tiny_models, tmp_path)


def test_the_check_waits_for_a_learning_rate(tiny_models, tmp_path, monkeypatch):
    """It is zero in the first step of a warm-up."""
    checked = []
    check = MovementCheck.check
    monkeypatch.setattr(MovementCheck, "check", lambda self: (checked.append(1), check(self)))
    seen = []
    step = TrainingRun.step

    def counted(run, first=False):
        result = step(run, first)
        seen.append(len(checked))
        return result

    monkeypatch.setattr(TrainingRun, "step", counted)
    short_run(tiny_models, tmp_path, ("warmup=0.25",))
    assert seen == [0, 1, 1, 1]


def test_only_the_encoder_and_its_head_are_prepared(tiny_models, tmp_path, monkeypatch):
    """Language model, projector and text tower stay outside the prepared module."""
    prepared = []
    prepare = TrainingRun.prepare

    def recorded(self):
        prepare(self)
        prepared.extend(name for name, _ in self.strategy.model.named_parameters())

    monkeypatch.setattr(TrainingRun, "prepare", recorded)
    short_run(tiny_models, tmp_path, ("steps=1",))
    tower = {f"tower.{name}" for name, _ in tiny_models.pretrained_tower().named_parameters()}
    assert set(prepared) == tower | {"head.token", "head.log_scale"}
