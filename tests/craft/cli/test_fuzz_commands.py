"""Damaged files, seen from the command line: an answer, or one line and exit code 2, soon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from tests.craft.cli.commands import craft_command, done
from tests.craft.conftest import NAMES
from tests.craft.fuzzing import ROUNDS, fuzz, in_place

pytestmark = pytest.mark.usefixtures("quiet_process")

#: What is damaged, and the command that reads it: (models, folder) -> the file, and the words.
Read = Callable[[ModelFamily, Path], tuple[Path, list[Any]]]


class Refused(Exception):
    """What the line says."""


def place(number: int) -> str:
    """Where a picture lies."""
    return f"things/{NAMES[number // 10].replace(' ', '_')}/{number}.png"


def table(models: ModelFamily, folder: Path) -> tuple[Path, list[Any]]:
    path = folder / "d.csv"
    rows = [f"{place(i)},{NAMES[i // 10]}" for i in range(80)]
    path.write_text("image,label\n" + "\n".join(rows) + "\n")
    return path, ["data", "check", path, "--quick", "--models", models.directory]


def talk(models: ModelFamily, folder: Path) -> tuple[Path, list[Any]]:
    path = folder / "d.json"
    rows = [
        {"image": place(i), "question": "what thing", "answer": NAMES[i // 10]} for i in range(40)
    ]
    path.write_text(json.dumps(rows))
    return path, ["data", "check", path, "--quick", "--models", models.directory]


def image(models: ModelFamily, folder: Path) -> tuple[Path, list[Any]]:
    words = ["data", "check", folder / "things", "--models", models.directory]
    return folder / place(3), words


def pack(models: ModelFamily, folder: Path) -> tuple[Path, list[Any]]:
    made = EncoderPack.of(models.pretrained_tower(), domain="flags", config={"seed": 1})
    made.save(folder / "pack")
    return folder / "pack" / "pack.json", ["info", folder / "pack", "--models", models.directory]


@ROUNDS
@pytest.mark.parametrize("kind", [table, talk, image, pack], ids=lambda x: x.__name__)
def test_commands(
    kind: Read,
    tiny_models: ModelFamily,
    draw: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> None:
    monkeypatch.setenv("CRAFT_CACHE", "off")
    for number in range(80):
        draw(tmp_path / place(number), number)
    path, words = kind(tiny_models, tmp_path)
    done(craft_command(*words))

    def read(case: bytes) -> None:
        result = craft_command(*words)
        assert result.exit_code in (0, 2), (result.exception, result.output)
        assert "Traceback" not in result.output
        if result.exit_code == 2:
            (line,) = (x for x in result.stderr.splitlines() if x.startswith("error: "))
            raise Refused(line)

    with in_place(path) as put:
        whole = path.read_bytes()
        fuzz(whole, read, Refused, rounds, kind.__name__, folder=tmp_path, put=put)
