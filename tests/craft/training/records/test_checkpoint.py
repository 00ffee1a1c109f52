"""A checkpoint is complete or absent."""

import json
import resource

import pytest
import torch

from craft.runtime.json_cards import with_checksum
from craft.training.distributed.optimizer_state import pack_optimizer, unpack_optimizer
from craft.training.records.checkpoint import CheckpointDirectory
from tests.craft.runtime.broken_files import DAMAGE
from tests.craft.training.test_resume import run_module


def save(directory, step, size=10):
    return directory.save(step, {"weights": {"x": torch.full((size,), float(step))}}, {"n": step})


@pytest.mark.slow
def test_a_kill_at_any_disk_call_leaves_one_complete_checkpoint(tmp_path):
    found = run_module("killed_writes", tmp_path / "run")
    assert set(found) == {1, 2}  # the old one, then the new one
    assert found == sorted(found)
    assert len(found) > 15


def test_the_newest_are_kept(tmp_path):
    directory = CheckpointDirectory(tmp_path, keep=2)
    for step in (1, 2, 10):
        save(directory, step)
    assert directory.steps() == [2, 10]
    found = directory.load()
    assert found is not None
    assert (found.step, found.state) == (10, {"n": 10})
    assert found.tensors["weights"]["x"].tolist() == [10.0] * 10
    directory.clear()
    assert list(tmp_path.iterdir()) == []
    assert directory.load() is None


def test_a_truncated_write_is_an_error_and_leaves_the_old_checkpoint(tmp_path):
    """The operating system itself refuses in the middle of a file."""
    directory = CheckpointDirectory(tmp_path / "a", keep=1)
    save(directory, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(
            OSError, match=r"step 2: .* could not be written: .*that of step 1 is intact"
        ):
            save(directory, 2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [x.name for x in (tmp_path / "a").iterdir()] == ["step-00000001"]
    found = directory.load()
    assert found is not None
    assert found.step == 1


def test_leftovers_of_interrupted_writes_are_not_checkpoints(tmp_path):
    directory = CheckpointDirectory(tmp_path)
    left = (".step-00000007.123.part", ".writing-00000007", ".deleting-step-00000006")
    for name in (*left, "step-00000008"):  # a deletion that began before state.json went first
        (tmp_path / name).mkdir()
    assert directory.load() is None
    directory.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000008"]


def test_a_restored_optimiser_continues_exactly():
    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.AdamW(
            [{"params": [model.weight], "lr": 1e-2}, {"params": [model.bias], "lr": 3e-3}]
        )

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    whole, optimizer = make()
    step(whole, optimizer)
    tensors = pack_optimizer(optimizer, dict(whole.named_parameters()))
    assert "bias.exp_avg" in tensors
    weights = {k: v.clone() for k, v in whole.state_dict().items()}
    tensors = {k: v.clone() for k, v in tensors.items()}
    step(whole, optimizer)
    other, fresh = make()
    other.load_state_dict(weights)
    unpack_optimizer(fresh, dict(other.named_parameters()), tensors)
    step(other, fresh)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["state.json", "weights.safetensors"])
def test_damaged_checkpoints_are_skipped_for_the_previous_one(tmp_path, file, damage, caplog):
    directory = CheckpointDirectory(tmp_path)
    save(directory, 1)
    DAMAGE[damage][0](save(directory, 2) / file)
    found = directory.load()
    assert found is not None
    assert found.step == 1
    assert ("step-00000002 cannot be used" in caplog.text) == ((file, damage) != MISSING)


MISSING = ("state.json", "missing")  # an interrupted deletion: not a checkpoint


@pytest.mark.parametrize("content", ["[]", '{"format": 3}', '{"format": 3, "hashes": 5}'])
def test_states_with_other_content_are_not_checkpoints(tmp_path, content):
    directory = CheckpointDirectory(tmp_path)
    (save(directory, 1) / "state.json").write_text(content)
    assert directory.load() is None


def test_one_changed_digit_of_the_state_is_detected(tmp_path):
    directory = CheckpointDirectory(tmp_path)
    path = save(directory, 1) / "state.json"
    path.write_text(path.read_text().replace('{"n": 1}', '{"n": 7}'))
    assert directory.load() is None


@pytest.mark.parametrize("name", ["../other", "/tmp/other"])
def test_a_state_cannot_name_files_elsewhere(tmp_path, name, caplog):
    """Even if its checksum is right, as in a checkpoint from someone else."""
    save(CheckpointDirectory(tmp_path / "run"), 1)
    (target,) = (tmp_path / "run").glob("step-*")
    path = target / "state.json"
    card = json.loads(path.read_text())
    card["hashes"] = {name: next(iter(card["hashes"].values()))}
    path.write_text(json.dumps(with_checksum(card)))
    assert CheckpointDirectory(tmp_path / "run").load() is None
    assert "leads out of" in caplog.text
