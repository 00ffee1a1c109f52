"""Blocks that are sharded over two processes train as in one process."""

from typing import Any

import pytest
import torch

from craft.settings.training import HardwareConfig
from craft.training.distributed import sharded
from tests.craft.training import shared_runs


@pytest.fixture(scope="module")
def shared(tiny_models, tmp_path_factory):
    """All runs in two processes, which are started only once."""
    out = tmp_path_factory.mktemp("shared")
    shared_runs.runs_of_two(tiny_models, out, "fsdp")
    return out


@pytest.mark.parametrize("name", shared_runs.RUNS)
def test_a_sharded_run_is_the_same_run(tiny_models, shared, tmp_path, name):
    shared_runs.assert_same_run(tiny_models, shared, tmp_path, name)


def test_products_are_bfloat16_if_set(tiny_models, shared, tmp_path):
    shared_runs.assert_half_precision(tiny_models, shared, tmp_path)


@pytest.mark.parametrize("name", [name for name in shared_runs.RUNS if name != "projector_ft"])
def test_a_process_holds_its_share_of_the_blocks(shared, name):
    """Half, except for odd numbers of rows and a gate's single number."""
    assert 0.4 < shared_runs.first(shared / name)["share"] < 0.6


@pytest.mark.parametrize("name", shared_runs.RESUMED)
def test_an_interrupted_run_resumes(tiny_models, shared, tmp_path, name):
    shared_runs.assert_resumes(tiny_models, shared, tmp_path, name)


@pytest.mark.parametrize(
    ("environment", "hardware", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, {}, "FSDP 1; write `fsdp_version: 2`"),
        (
            {"ACCELERATE_USE_FSDP": "1", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"},
            {},
            "fsdp_offload_params: true is not supported",
        ),
        ({}, {"shard": True, "precision": "fp16"}, "fp16 needs a loss scale"),
    ],
)
def test_unsupported_sharding_is_refused(monkeypatch, environment, hardware, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        sharded.wanted(HardwareConfig(**hardware), 2)


def test_one_process_shards_nothing(caplog):
    with caplog.at_level("INFO", "craft.training.distributed.sharded"):
        assert not sharded.wanted(HardwareConfig(shard=True), 1)
    assert "nothing is sharded" in caplog.text
    assert not sharded.wanted(HardwareConfig(), 2)


def test_a_language_model_without_blocks_is_refused():
    mesh: Any = None
    with pytest.raises(ValueError, match="Linear has no blocks to shard"):
        sharded.shard_blocks(torch.nn.Linear(2, 2), mesh)
