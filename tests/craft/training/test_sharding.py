"""Blocks that are shared out over two processes train as in one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from craft.training import sharding
from craft.training.config import HardwareConfig
from tests.craft.training import sharded_runs
from tests.craft.training.same_training import assert_same_gradients, assert_same_weights

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shared(tiny_models_dir, tmp_path_factory):
    """All runs in two processes, one start for all of them."""
    out = tmp_path_factory.mktemp("shared")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    script = ["-m", "tests.craft.training.sharded_runs", str(tiny_models_dir), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return out


def first(out):
    return json.loads((out / "first.json").read_text())


def assert_same_results(found, expected):
    """Of two directories, the second being of a whole run."""
    gradients = load_file(expected / "gradients.safetensors")
    for part in ("tower", "reader"):
        ours, theirs = (load_file(x / f"{part}.safetensors") for x in (found, expected))
        assert_same_weights(ours, theirs, gradients)


@pytest.mark.parametrize("name", sharded_runs.RUNS)
def test_a_run_that_is_shared_out_is_the_same_run(tiny_models, shared, tmp_path, name):
    sharded_runs.run(tiny_models, tmp_path, sharded_runs.RUNS[name])
    found, expected = (load_file(x / "gradients.safetensors") for x in (shared / name, tmp_path))
    assert_same_gradients(found, expected)
    assert_same_results(shared / name, tmp_path)
    if "hardware.accumulate=2" not in sharded_runs.RUNS[name]:  # the norms are of a first part
        norms = first(tmp_path)["norms"]
        assert first(shared / name)["norms"] == pytest.approx(norms, rel=1e-4)


@pytest.mark.parametrize("name", sharded_runs.RUNS)
def test_a_process_has_its_share_of_the_blocks(shared, name):
    """Half, but for odd numbers of rows and a gate's single number."""
    assert 0.4 < first(shared / name)["share"] < 0.6


@pytest.mark.parametrize("name", sharded_runs.RESUMED)
def test_a_shared_run_goes_on_bit_for_bit(shared, name):
    for part in ("tower", "reader"):
        resumed = (shared / f"{name}-resumed" / f"{part}.safetensors").read_bytes()
        assert resumed == (shared / name / f"{part}.safetensors").read_bytes()


@pytest.mark.parametrize("name", sharded_runs.RESUMED)
def test_a_shared_run_goes_on_in_one_process(tiny_models, shared, tmp_path, name):
    """Checkpoints are whole, so a job may have fewer GPUs the next time."""
    out = shutil.copytree(shared / f"{name}-cut", tmp_path / name)
    sharded_runs.run(tiny_models, out, sharded_runs.RUNS[name], resume=True)
    assert_same_results(out, shared / name)
    assert len((out / "train.jsonl").read_text().splitlines()) == len(
        (shared / name / "train.jsonl").read_text().splitlines()
    )


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
def test_what_sharding_cannot_do_is_refused(monkeypatch, environment, hardware, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        sharding.wanted(HardwareConfig(**hardware), 2)


def test_one_process_has_nobody_to_share_with(caplog):
    with caplog.at_level("INFO", "craft.training.sharding"):
        assert not sharding.wanted(HardwareConfig(shard=True), 1)
    assert "nothing is shared out" in caplog.text
    assert not sharding.wanted(HardwareConfig(), 2)
