"""The Python API: its calls give the same results as the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import craft
from craft.family.family import ModelFamily
from craft.workbench.listener import Listener
from craft.workbench.opening import NOT_MEASURED
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


def test_align_makes_a_surrogate_that_can_be_adapted_with(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models.directory, models)
    few = {"steps": 2, "batch": 4, "validation_images": 4}
    made = craft.align(
        models / "llama", models / "mine", {"captions": class_folder}, family=models, settings=few
    )
    assert (made.name, made.codebook_fingerprint) == ("llama", tiny_models.codebook.fingerprint)
    pack = craft.adapt(
        class_folder, tmp_path / "p", family=models, surrogate="mine", settings=QUICK
    )
    assert pack.notes["surrogate"] == "mine"
    with pytest.raises(craft.CraftError, match="no methods but stages"):
        craft.align(models / "llama", tmp_path / "a", {"captions": class_folder},
                    family=models, settings={"method": "craft"})  # fmt: skip
    with pytest.raises(craft.CraftError, match="did you mean `craft align`"):
        craft.adapt(class_folder, tmp_path / "b", family=models, settings={"method": "align"})


def test_a_listener_hears_what_is_not_measured_and_how_far_things_are(
    class_folder: Path,
    tiny_models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Heard(Listener):
        def __init__(self) -> None:
            self.notices: list[str] = []
            self.tasks: set[str] = set()

        def notice(self, text: str) -> None:
            self.notices.append(text)

        def progress(self, task: str, done: int, total: int) -> None:
            self.tasks.add(task)

    heard = Heard()
    out, models = tmp_path / "p", tiny_models_dir
    craft.adapt(class_folder, out, family=models, settings=QUICK, listener=heard)
    assert "things: adapting with qwen2" in heard.tasks
    craft.evaluate(out, tmp_path / "s", family=models, settings=FEW, listener=heard)
    craft.transfer([out], tmp_path / "t", family=models, settings=FEW, listener=heard)
    assert len(heard.notices) == 3
    assert all("forgetting is not measured" in notice for notice in heard.notices)
    assert "names 'pocket' for it" in heard.notices[0]
    family = ModelFamily.load(models)
    monkeypatch.setattr(ModelFamily, "retention", None)
    craft.evaluate(out, tmp_path / "u", family=family, settings=FEW, listener=heard)
    assert heard.notices[-1] == NOT_MEASURED


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"keep_ratios": [0.0]}, r"keep_ratio must be in \(0, 1\], got 0.0"),
        ({"selector": "random"}, "selector random has no effect while all tokens are kept"),
        ({"selecter": "random"}, "no such setting 'selecter'; did you mean 'selector'"),
        ({"test_limit": 0}, "test_limit: Input should be greater than or equal to 1"),
    ],
)
def test_settings_of_an_exam_are_checked_as_the_commands_are(
    settings: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(craft.CraftError, match=complaint):
        craft.evaluate("no-pack", tmp_path / "s", settings=settings)
    assert not (tmp_path / "s").exists()


def test_mistakes_are_told_at_once(tiny_models: ModelFamily, tmp_path: Path) -> None:
    with pytest.raises(craft.CraftError, match="no such setting 'step'"):
        craft.adapt("gone", tmp_path / "a", family=tiny_models, settings={"step": 2})
    with pytest.raises(FileNotFoundError, match="no such file or folder: gone"):
        craft.adapt("gone", tmp_path / "a", family=tiny_models, settings=QUICK)
    assert not (tmp_path / "a").exists()
