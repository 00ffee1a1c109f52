"""DeepSpeed's ZeRO in two processes trains like one process; needs deepspeed."""

import json

import pytest
import torch

from craft.settings.training import CraftConfig
from craft.training.distributed import strategy, zero
from tests.craft.training import shared_runs


@pytest.fixture(scope="module", params=["1", "2"])
def shared(request, tiny_models, tmp_path_factory):
    """All runs in two processes, which are started only once."""
    pytest.importorskip("deepspeed")
    out = tmp_path_factory.mktemp(f"zero{request.param}")
    environment = {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": request.param,
        "DS_ACCELERATOR": "cpu",
    }
    shared_runs.runs_of_two(tiny_models, out, "zero", **environment)
    return out


@pytest.mark.parametrize("name", shared_runs.RUNS)
def test_a_run_is_the_same_run(tiny_models, shared, tmp_path, name):
    shared_runs.assert_same_run(tiny_models, shared, tmp_path, name)
    begun = json.loads((shared / name / "train.jsonl").read_text().splitlines()[0])
    assert (begun["processes"], begun["strategy"]) == (2, "zero")


def test_products_are_bfloat16_if_set(tiny_models, shared, tmp_path):
    shared_runs.assert_half_precision(tiny_models, shared, tmp_path)


@pytest.mark.parametrize("name", shared_runs.RESUMED)
def test_an_interrupted_run_resumes(tiny_models, shared, tmp_path, name):
    shared_runs.assert_resumes(tiny_models, shared, tmp_path, name)


@pytest.mark.parametrize(
    ("deepspeed", "hardware", "said"),
    [
        ({"zero_optimization": {"stage": 3}}, {}, "ZeRO stage 3 is not supported"),
        ({"zero_optimization": {}}, {}, "ZeRO stage 0"),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
            {},
            "offload_optimizer to cpu",
        ),
        ({"optimizer": {"type": "Adam"}}, {}, "config sets optimizer"),
        ({"bf16": {"enabled": True}}, {}, "config sets bf16"),
        ({}, {"shard": True}, "hardware.shard=true cannot be used with DeepSpeed"),
        ({}, {"precision": "fp16"}, "hardware.precision=fp16 cannot"),
    ],
)
def test_unsupported_settings_are_refused(deepspeed, hardware, said):
    """In the accelerate config's DeepSpeed settings, before DeepSpeed sees them."""
    config = CraftConfig.model_validate({"hardware": hardware})
    settings = {"zero_optimization": {"stage": 2}} | deepspeed
    with pytest.raises(ValueError, match=said):
        zero.require_supported(settings, config)


def test_products_are_bfloat16_even_if_outer_autocast_is_disabled():
    inside = strategy.InnerAutocast(
        torch.nn.Linear(2, 2), lambda: torch.autocast("cpu", torch.bfloat16)
    )
    with torch.autocast("cpu", enabled=False):
        assert inside(torch.ones(1, 2)).dtype == torch.bfloat16


def test_an_accelerate_config_launches_it(monkeypatch):
    assert not zero.launched()
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert zero.launched()
