"""The method from Python: three calls, the same results as the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import craft
from craft.family.family import ModelFamily
from tests.craft.cli.commands import craft_command, done

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")

FEW = {"test_limit": 6}
QUICK = {"steps": 2, "batch": 4, "validation_images": 4}


@pytest.fixture
def pack(class_folder: Path, tiny_models: ModelFamily, tmp_path: Path) -> Path:
    out = tmp_path / "my-pack"
    made = craft.adapt(class_folder, out, family=tiny_models, settings=QUICK)
    assert made.encoder_hash == tiny_models.plug(out).pack.encoder_hash  # type: ignore[union-attr]
    return out


def test_three_calls_are_the_three_commands(
    pack: Path, class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    found = craft.evaluate(pack, tmp_path / "scores", family=tiny_models, settings=FEW)
    arguments = ["--models", tiny_models.directory, "--test-limit", "6", "--general-images", "3"]
    done(craft_command("evaluate", pack, "--out", tmp_path / "command", *arguments))
    by_command = json.loads((tmp_path / "command/results.json").read_text())
    for name in tiny_models.names:
        scores = found.models[name]["keep_1.0"]
        assert scores.general is None  # no general data was given here
        assert scores.all == by_command["models"][name]["keep_1.0"]["all"]
    matrix = craft.transfer([pack], tmp_path / "matrix", family=tiny_models, settings=FEW)
    assert set(matrix.matrix) == {"pretrained", str(pack)}


def test_general_data_measures_forgetting(
    pack: Path, class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    found = craft.evaluate(
        pack,
        tmp_path / "scores",
        family=tiny_models.directory,
        language_models=["llama"],
        general=class_folder,
        settings={"test_limit": 4},
    )
    scores = found.models["llama"]["keep_1.0"]
    assert scores.n["general"] == 16
    assert scores.general is not None


def test_nothing_earlier_is_replaced(
    pack: Path, class_folder: Path, tiny_models: ModelFamily
) -> None:
    with pytest.raises(craft.CraftError, match="an earlier run of `craft adapt`; choose another"):
        craft.adapt(class_folder, pack, family=tiny_models, settings=QUICK)
    with pytest.raises(craft.CraftError, match="holds what `craft adapt` wrote; choose another"):
        craft.evaluate(pack, pack, family=tiny_models)


def test_mistakes_are_told_at_once(tiny_models: ModelFamily, tmp_path: Path) -> None:
    with pytest.raises(craft.CraftError, match="no such setting 'step'"):
        craft.adapt("gone", tmp_path / "a", family=tiny_models, settings={"step": 2})
    with pytest.raises(FileNotFoundError, match="no such file or folder: gone"):
        craft.adapt("gone", tmp_path / "a", family=tiny_models, settings=QUICK)
    assert not (tmp_path / "a").exists()
