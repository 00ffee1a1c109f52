"""The command line: quick help, one-line errors, and every command on tiny models."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import craft
from craft.cli import training_options
from craft.codebook import Codebook, shorten
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from tests.craft.cli.commands import FEW, QUICK, craft_command, one_error_line

pytestmark = pytest.mark.usefixtures("quiet_process")


def test_help_takes_less_than_a_second_and_no_torch() -> None:
    code = (
        "import sys; from craft.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'numpy', 'pydantic', 'yaml'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):  # the first call after an installation compiles what it imports
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        for command in ("demo", "adapt", "evaluate", "prior", "info"):
            assert f" {command} " in done.stdout
        # Processor time, which other programs on the machine lengthen least.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1


def test_version() -> None:
    result = craft_command("--version")
    assert (result.exit_code, result.stdout) == (0, f"craft {craft.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bad"], "No such option: --bad"),
        (["--versoin"], "No such option: --versoin; did you mean '--version'?"),
        (["--version=3"], "does not take a value"),
        (["adapt", "--bad"], "No such option: --bad"),
        (["data", "--bad"], "No such option: --bad"),
        (["data", "chekc"], "Did you mean 'check', 'cache'?"),
    ],
)
def test_what_the_command_line_does_not_know_is_one_line(arguments: list[str], said: str) -> None:
    assert said in one_error_line(craft_command(*arguments))


@pytest.mark.parametrize("command", ["demo", "adapt", "evaluate", "prior", "info"])
def test_every_command_explains_itself(command: str) -> None:
    result = craft_command(command, "--help")
    assert result.exit_code == 0
    assert "--models" in result.stdout


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("lr", r"--set takes KEY=VALUE, got 'lr'"),
        (
            "learning_rate=1",
            r"no such setting 'learning_rate'; there are method, encoder, optimizer, steps,",
        ),
        ("lr=fast", r"--set lr=fast: lr must be a finite number > 0, got 'fast'"),
        ("lr=-1", r"--set lr=-1: lr must be a finite number > 0, got -1"),
    ],
)
def test_wrong_settings_are_named(setting: str, complaint: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = one_error_line(
        craft_command("adapt", "--domain", "flags", "--out", out, "--set", setting)
    )
    assert complaint in line
    assert not out.exists()


def test_settings_keep_their_types() -> None:
    config = training_options.config(
        settings=["steps=7", "lr=2e-4", "blend=false", "con_scale=literal"]
    )
    assert (config.steps, config.lr, config.blend, config.con_scale) == (
        7,
        2e-4,
        False,
        "literal",
    )


def test_a_directory_without_models_is_refused(tmp_path: Path) -> None:
    result = craft_command("demo", "--models", tmp_path, "--out", tmp_path / "out")
    assert "holds no models" in one_error_line(result)


def test_debug_shows_where_an_error_came_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRAFT_DEBUG", "1")
    result = craft_command("demo", "--models", tmp_path, "--out", tmp_path / "out")
    assert isinstance(result.exception, ValueError)


def test_demo_refuses_a_directory_of_other_files(tiny_models: ModelFamily, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    result = craft_command("demo", "--out", tmp_path, "--models", tiny_models.directory)
    assert "not an earlier run" in one_error_line(result)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_demo_writes_results_page_and_pack(
    small_world: None, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    arguments = ["demo", "--out", tmp_path, "--models", tiny_models.directory, *QUICK, *FEW]
    result = craft_command(*arguments)
    assert result.exit_code == 0, result.output
    assert "an earlier run of `craft demo`" in one_error_line(craft_command(*arguments))
    result = craft_command(*arguments, "--force")
    assert result.exit_code == 0, result.output
    assert "handwriting" in result.stdout
    assert "llama (transfer)" in result.stdout
    assert (tmp_path / "index.html").is_file()
    results = json.loads((tmp_path / "results.json").read_text())
    model = results["domains"]["handwriting"]["models"]["qwen2"]
    assert model["role"] == "surrogate"
    assert model["conditions"]["adapted"]["n"]["all"] == 6
    assert EncoderPack.load(tmp_path / "handwriting" / "seed-0").prior is not None


def test_adapt_writes_a_pack_with_its_prior(pack: Path) -> None:
    loaded = EncoderPack.load(pack)
    assert loaded.prior is not None
    assert loaded.prior.encoder_hash == loaded.encoder_hash
    assert loaded.notes["domain"] == "flags"
    assert loaded.notes["config"]["steps"] == 2
    assert (pack / "train.jsonl").is_file()


def test_evaluate_sweeps_ratios_through_all_models(
    small_world: None, tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    ratios = ["--keep-ratio", "1.0", "--keep-ratio", "0.5"]
    result = craft_command(
        "evaluate", pack, "--out", tmp_path, "--models", tiny_models.directory, *ratios, *FEW
    )
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["domain"] == "flags"
    assert {name: list(c) for name, c in results["models"].items()} == {
        "qwen2": ["pretrained", "keep_1.0", "keep_0.5"],
        "llama": ["pretrained", "keep_1.0", "keep_0.5"],
    }
    assert "keep 0.5" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--llm", "gpt"], "got 'gpt'"),
        (["--keep-ratio", "0"], "keep_ratio must be in (0, 1], got 0.0"),
        (["--prior", "nowhere.safetensors", "--keep-ratio", "0.5"], "nowhere.safetensors"),
    ],
)
def test_evaluate_names_wrong_arguments(
    small_world: None,
    tiny_models: ModelFamily,
    pack: Path,
    tmp_path: Path,
    arguments: list[str],
    complaint: str,
) -> None:
    result = craft_command(
        "evaluate", pack, "--out", tmp_path, "--models", tiny_models.directory, *arguments, *FEW
    )
    assert complaint in one_error_line(result)


def test_evaluate_refuses_a_codebook_that_differs_in_one_bit(
    tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    other = tmp_path / "models"
    shutil.copytree(tiny_models.directory, other)
    table = tiny_models.codebook.table
    table.view(torch.int32)[3, 5] ^= 1
    changed = Codebook(table, tiny_models.codebook.levels)
    changed.save(other / "codebook.safetensors")
    line = one_error_line(
        craft_command("evaluate", pack, "--out", tmp_path / "out", "--models", other)
    )
    assert shorten(changed.fingerprint) in line
    assert shorten(tiny_models.codebook.fingerprint) in line
    assert not (tmp_path / "out").exists()


def test_evaluate_refuses_a_codebook_file_with_one_flipped_bit(
    tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    other = tmp_path / "models"
    shutil.copytree(tiny_models.directory, other)
    path = other / "codebook.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    line = one_error_line(
        craft_command("evaluate", pack, "--out", tmp_path / "out", "--models", other)
    )
    assert shorten(tiny_models.codebook.fingerprint) in line


def test_evaluate_wants_a_pack(tiny_models: ModelFamily, tmp_path: Path) -> None:
    result = craft_command(
        "evaluate", tmp_path, "--out", tmp_path / "out", "--models", tiny_models.directory
    )
    assert "is not an encoder pack" in one_error_line(result)


def test_prior_is_counted_into_the_pack_or_a_file(
    small_world: None, tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "pack"
    replace(EncoderPack.load(pack), prior=None).save(mine)
    assert EncoderPack.load(mine).prior is None
    arguments = ["prior", mine, "--models", tiny_models.directory]
    assert craft_command(*arguments).exit_code == 0
    counted, shipped = EncoderPack.load(mine).prior, EncoderPack.load(pack).prior
    assert counted is not None
    assert shipped is not None
    assert torch.equal(counted.counts, shipped.counts)
    file = tmp_path / "digits.safetensors"
    result = craft_command(*arguments, "--domain", "handwriting", "--out", file)
    assert result.exit_code == 0
    assert "of handwriting" not in result.stderr
    assert "exists" in one_error_line(craft_command(*arguments, "--out", file))


def test_pruning_without_a_prior_says_how_to_get_one(
    small_world: None, tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "pack"
    replace(EncoderPack.load(pack), prior=None).save(mine)
    arguments = ["evaluate", mine, "--models", tiny_models.directory, "--keep-ratio", "0.8", *FEW]
    line = one_error_line(craft_command(*arguments, "--out", tmp_path / "a"))
    assert "craft prior" in line
    result = craft_command(*arguments, "--selector", "random", "--out", tmp_path / "b")
    assert result.exit_code == 0, result.output


def test_info_says_what_runs_and_what_a_pack_holds(tiny_models: ModelFamily, pack: Path) -> None:
    result = craft_command("info", pack, "--models", tiny_models.directory)
    assert result.exit_code == 0, result.output
    for fact in (torch.__version__, "kernels_reason", "qwen2, llama", "TokenPrior", "steps = 2"):
        assert fact in result.stdout
    without = craft_command("info", "--models", pack)
    assert without.exit_code == 0
    assert "holds no models" in " ".join(without.stdout.split())
