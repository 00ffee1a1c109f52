"""Loading a damaged checkpoint quickly gives what was saved, or the previous checkpoint."""

import pytest
import torch

from craft.training.records.checkpoint import CheckpointDirectory
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped


@ROUNDS
@pytest.mark.parametrize(
    ("file", "damage"),
    [("state.json", damaged), ("state.json", retyped), ("weights.safetensors", damaged)],
)
def test_checkpoints(tmp_path, file, damage, rounds):
    directory = CheckpointDirectory(tmp_path)
    for step in (1, 2):
        weights = {"x": torch.full((4,), float(step)), "n": torch.tensor(step)}
        directory.save(step, {"weights": weights}, {"rng": [step, 5], "lr": 0.5, "best": None})
    path = directory.path(2)

    def read(case):
        found = directory.load()
        assert found is not None
        assert found.step in (1, 2)
        assert found.tensors["weights"]["x"].tolist() == [float(found.step)] * 4
        assert found.tensors["weights"]["n"].item() == found.step
        assert found.state == {"rng": [found.step, 5], "lr": 0.5, "best": None}

    fuzz_file(path / file, read, rounds, damage)
