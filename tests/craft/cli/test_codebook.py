"""`craft codebook fit`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from craft.codebook import Codebook
from craft.fitting import fit_codebook
from tests.craft.cli.commands import craft_command, done, one_error_line
from tests.craft.training.two_processes import in_two_processes


@pytest.fixture
def features(tmp_path: Path) -> Path:
    np.save(tmp_path / "features.npy", torch.randn(300, 6).numpy())
    return tmp_path / "features.npy"


def test_a_codebook_is_fitted_and_told(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "codebook.safetensors"
    said = done(
        craft_command("codebook", "fit", features, "--size", 8, "--levels", 2, "--out", out)
    )
    assert "300 rows of 6 dimensions" in said
    assert "level 1, iteration 0: error" in said
    assert "level 2, iteration 1: error" in said
    assert Codebook.load(out) == fit_codebook(torch.from_numpy(np.load(features)), 8, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["codebook.safetensors", "features.npy"]


def test_what_is_there_is_not_replaced_and_refusals_write_nothing(
    features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "codebook.safetensors"
    line = one_error_line(craft_command("codebook", "fit", features, "--size", 301, "--out", out))
    assert "300 rows are fewer than 301 codewords" in line
    assert not out.exists()
    out.write_text("mine")
    line = one_error_line(craft_command("codebook", "fit", features, "--size", 8, "--out", out))
    assert "exists; choose another file, or --force" in line
    assert out.read_text() == "mine"
    done(
        craft_command("codebook", "fit", features, "--size", 8, "--shared", "--out", out, "--force")
    )
    assert Codebook.load(out).shared


def test_an_interrupted_fit_resumes(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "codebook.safetensors"
    line = ["codebook", "fit", features, "--size", 8, "--levels", 2, "--out", out]
    monkeypatch.setattr("craft.cli.codebook._line", _interrupt_at(5))
    stopped = craft_command(*line)
    assert stopped.exit_code == 130
    assert "what was fitted is kept in" in stopped.stderr
    assert (tmp_path / "codebook.safetensors.unfinished").exists()
    monkeypatch.undo()
    said = done(craft_command(*line))
    assert "iteration 0" not in said.partition("level 2")[0]
    assert Codebook.load(out) == fit_codebook(torch.from_numpy(np.load(features)), 8, 2)
    assert not (tmp_path / "codebook.safetensors.unfinished").exists()


@pytest.mark.parametrize("how", [("--init", "kmeans++"), ("--shared",)])
def test_two_processes_fit_what_one_does(
    how: tuple[str, ...], features: Path, tmp_path: Path
) -> None:
    line = ["codebook", "fit", features, "--size", 24, "--levels", 3, *how, "--device", "cpu"]
    in_two_processes("craft.cli", *line, "--out", tmp_path / "two.safetensors")
    done(craft_command(*line, "--out", tmp_path / "one.safetensors"))
    assert (tmp_path / "two.safetensors").read_bytes() == (
        tmp_path / "one.safetensors"
    ).read_bytes()
    assert not (tmp_path / "two.safetensors.unfinished").exists()


def _interrupt_at(call: int):
    calls = 0

    def line(_: object) -> str:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return ""

    return line
