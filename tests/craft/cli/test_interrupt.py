"""Ctrl-C in any command: exit code 130, what is kept, and a line that resumes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from craft.cli.interrupt import remember_line, typed_line
from craft.family.family import ModelFamily
from tests.craft.cli.commands import FEW, craft_command, done

pytestmark = pytest.mark.usefixtures("quiet_process")


@pytest.mark.parametrize("typed", [["--resume", "never"], ["--resume=never"], []])
def test_the_line_can_be_typed_with_another_value(typed: list[str]) -> None:
    remember_line("craft", ["adapt", "--out", "my pack", *typed, "--set", "lr=1"])
    assert typed_line() == shlex.join(
        ["craft", "adapt", "--out", "my pack", *typed, "--set", "lr=1"]
    )
    assert shlex.split(typed_line(resume="auto")) == [
        *("craft", "adapt", "--out", "my pack", "--set", "lr=1", "--resume", "auto")
    ]


def test_every_command_ends_with_the_code_of_an_interrupt(
    pack: Path, tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("craft.workbench.examination.evaluate_pack", interrupted)
    models = ["--models", tiny_models.directory]
    result = craft_command("evaluate", pack, "--out", tmp_path / "scores", *models, *FEW)
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted: ")
    assert "Traceback" not in result.output


def test_tokenize_says_how_many_images_are_done(
    pack: Path,
    tiny_models: ModelFamily,
    class_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from craft.corpus import tokens

    encode = tokens.tokenize_corpus

    def interrupted(*arguments: Any) -> Iterator[int]:
        yield next(encode(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(tokens, "tokenize_corpus", interrupted)
    out = tmp_path / "tokens"
    result = craft_command(
        "tokenize", class_folder, "--pack", pack, "--out", out, "--shard-size", 32,
        "--models", tiny_models.directory,
    )  # fmt: skip
    assert result.exit_code == 130
    assert f"32 images are encoded in {out}" in result.stderr
    again = shlex.split(result.stderr.split("to resume: ")[1])
    monkeypatch.undo()
    assert "80 images in 3 shards" in done(craft_command(*again[1:]))
