"""`craft adapt` as a trainer: settings, dry runs, interrupted jobs, baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from craft.data.domains.manifest import DomainManifest
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.settings.presets import preset
from craft.training.training_run import TrainingRun
from tests.craft.cli.commands import craft_command, done, one_error_line

QUICK = [
    argument
    for setting in ("steps=3", "batch=4", "validation_images=4", "checkpoint.every=1")
    for argument in ("--set", setting)
]

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


def die_in_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    steps: list[int] = []
    original = TrainingRun.step

    def step(run: TrainingRun, first: bool = False):
        steps.append(1)
        if len(steps) == number:
            raise OSError("the power went out")
        return original(run, first)

    monkeypatch.setattr(TrainingRun, "step", step)


def test_preset_file_and_assignments_end_in_the_run_s_config(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 2e-4\nepochs: null\nhardware: {accumulate: 2}\n")
    arguments = ["--data", class_folder, "--models", tiny_models.directory, *QUICK]
    more = ["--preset", "craft_paper", "--config", file, "--encoder", "norm_only"]
    shown = done(craft_command("adapt", "--out", tmp_path / "pack", *arguments, *more))
    assert "trains: encoder.embeddings" not in shown
    assert "trains: encoder.blocks" in shown
    config = yaml.safe_load((tmp_path / "pack/config.yaml").read_text())
    assert config["sal_reduction"] == preset("craft_paper").sal_reduction
    assert (config["lr"], config["hardware"]["accumulate"]) == (2e-4, 2)
    assert (config["encoder"], config["steps"], config["epochs"]) == ("norm_only", 3, None)
    # A class token that patches attend to is part of the encoder and of the pack.
    pack = EncoderPack.load(tmp_path / "pack")
    assert "class_token" in pack.weights
    assert pack.tower(tiny_models.codebook).class_token is not None


def test_a_dry_run_writes_nothing(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    arguments = ["--data", class_folder, "--models", tiny_models.directory, "--out", out]
    shown = done(craft_command("adapt", *arguments, "--dry-run"))
    for fact in ("dry run: nothing was written", "500, 50 training examples", "MiB"):
        assert fact in shown
    assert not out.exists()


def test_settings_are_listed() -> None:
    shown = done(craft_command("settings"))
    assert "| `checkpoint.every` | int | `100` |" in shown


def test_an_interrupted_job_resumes_and_a_corrupt_image_costs_nothing(
    class_folder: Path,
    tiny_models: ModelFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments = ["--data", class_folder, "--models", tiny_models.directory, *QUICK]
    done(craft_command("adapt", "--out", tmp_path / "whole", *arguments))
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        die_in_step(patch, 3)
        line = one_error_line(craft_command("adapt", "--out", out, *arguments))
        assert "the power went out" in line
    kept = [path.name for path in (out / "checkpoints").iterdir()]
    assert sorted(kept) == ["step-00000001", "step-00000002"]
    image = class_folder / DomainManifest.load(tmp_path / "whole" / "domain.json").parts.train[0]
    data = image.read_bytes()
    image.write_bytes(data[:60])
    resume = ["--resume", "auto"]
    line = one_error_line(craft_command("adapt", "--out", out, *arguments, *resume))
    assert "not the same training images" in line
    assert [path.name for path in (out / "checkpoints").iterdir()] == kept
    # A skipped image is counted, in a separate run.
    shown = done(craft_command("adapt", "--out", tmp_path / "skip", *arguments, "--skip-corrupt"))
    assert "skipped 1 images that cannot be read" in shown
    image.write_bytes(data)
    done(craft_command("adapt", "--out", out, *arguments, *resume))
    hashes = [EncoderPack.load(tmp_path / name).encoder_hash for name in ("whole", "cut")]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("method", ["vision_ft", "projector_ft"])
def test_baselines_are_adapted_and_examined_with_the_same_commands(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path, method: str
) -> None:
    models = ["--models", tiny_models.directory]
    arguments = ["--data", class_folder, *models, *QUICK]
    pack = tmp_path / "pack"
    done(craft_command("adapt", "--out", pack, *arguments, "--method", method))
    few = ["--general-images", "3", "--test-limit", "4", "--keep-ratio", "0.5"]
    done(craft_command("evaluate", pack, "--out", tmp_path / "scores", *models, *few))
    results = json.loads((tmp_path / "scores/results.json").read_text())
    assert results["settings"]["method"] == method
    trained_a_reader = method in ("projector_ft", "llm_lora")
    assert set(results["models"]) == ({"qwen2"} if trained_a_reader else {"qwen2", "llama"})
    assert (pack / "language_model").is_dir() == trained_a_reader
    if trained_a_reader:
        demo = craft_command("demo", "--out", tmp_path / "d", *models, "--set", f"method={method}")
        assert "trains no encoder" in one_error_line(demo)
