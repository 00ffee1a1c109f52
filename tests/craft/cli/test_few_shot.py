"""`craft few-shot`, and a pack of adapters in every command that takes a pack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket import domains, few_shot
from craft.runtime.tensor_hash import tensor_hash
from craft.workbench.few_shot import compare_few_shot
from tests.craft.cli.commands import FEW, QUICK, craft_command, done, one_error_line

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


@pytest.fixture(scope="module")
def adapters(small_world: None, tiny_models: ModelFamily, tmp_path_factory) -> Path:
    """A pack written by `craft adapt --encoder heba_discrete`."""
    out = tmp_path_factory.mktemp("packs") / "adapters"
    options = ["--out", out, "--domain", "flags", "--models", tiny_models.directory]
    shown = done(craft_command("adapt", *options, "--encoder", "heba_discrete", *QUICK))
    assert "of first-level codes changed" in shown
    return out


def test_a_pack_of_adapters_is_examined_like_any_other(
    adapters: Path, pack: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    models = ["--models", tiny_models.directory]
    out = tmp_path / "scores"
    done(craft_command("evaluate", adapters, "--out", out, "--keep-ratio", "0.5", *FEW, *models))
    scores = json.loads((out / "results.json").read_text())
    card = json.loads((adapters / "pack.json").read_text())
    assert scores["encoder_hash"] == card["encoder_hash"]
    assert 0 <= card["notes"]["code_flip_rate"] <= 1
    done(craft_command("transfer", pack, adapters, "--out", tmp_path / "t", *FEW, *models))
    results = json.loads((tmp_path / "t" / "results.json").read_text())
    assert results["encoder_hashes"][str(adapters)] == card["encoder_hash"]
    done(craft_command("pictures", adapters, "--out", tmp_path / "p", "--count", 1, *models))
    file = tmp_path / "prior.safetensors"
    done(craft_command("prior", adapters, "--out", file, *models))
    facts = done(craft_command("info", adapters, *models))
    assert card["base_hash"] in facts.replace(" ", "")  # which the terminal folds


def test_another_encoder_s_adapters_are_refused(
    adapters: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    other = tmp_path / "models"
    shutil.copytree(tiny_models.directory, other)
    changed = ModelFamily(other).siglip
    with torch.no_grad():
        next(changed.vision_model.parameters()).add_(1)
    changed.save_pretrained(other / "siglip")
    result = craft_command("evaluate", adapters, "--out", tmp_path / "out", "--models", other)
    line = one_error_line(result)
    assert json.loads((adapters / "pack.json").read_text())["base_hash"] in line
    assert not (tmp_path / "out").exists()


def test_an_interrupted_job_with_adapters_resumes(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.craft.cli.test_settings import die_in_step

    options = ["--domain", "flags", "--models", tiny_models.directory, "--encoder", "heba"]
    options += [*QUICK, "--set", "checkpoint.every=1", "--resume", "auto"]
    done(craft_command("adapt", "--out", tmp_path / "whole", *options))
    with monkeypatch.context() as patch:
        die_in_step(patch, 2)
        one_error_line(craft_command("adapt", "--out", tmp_path / "cut", *options))
    done(craft_command("adapt", "--out", tmp_path / "cut", *options))
    hashes = [
        EncoderPack.load(tmp_path / name, tiny_models.pretrained_tower).encoder_hash
        for name in ("whole", "cut")
    ]
    assert hashes[0] == hashes[1]


def test_few_shot_compares_and_leaves_the_models_as_they_were(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_shot, "load_area", domains.load_area)
    before = tensor_hash(tiny_models.siglip.state_dict())
    options = ["--domain", "flags", "--models", tiny_models.directory, "--epochs", "1"]
    shown = done(craft_command("few-shot", "--out", tmp_path / "out", *options, "--seeds", "2"))
    assert "harmonic mean" in shown
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["modes"]) == ["zero-shot", "heba", "heba_discrete"]
    assert found["classes"] == {"base": 5, "novel": 5}
    assert found["recipe"]["flip"] == 0  # a mirrored flag may be another one
    for mode, scores in found["modes"].items():
        assert (scores["trained"] == 0) == (mode == "zero-shot")
        assert (scores["base"]["std"] is None) == (mode == "zero-shot")
    assert tensor_hash(tiny_models.siglip.state_dict()) == before
    task = few_shot.few_shot_task("flags", tiny_models)
    with pytest.raises(ValueError, match="adapters must be one of"):
        compare_few_shot("flags", task, tiny_models, tmp_path, modes=["lora"])  # type: ignore[list-item]
