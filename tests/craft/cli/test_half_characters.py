"""Text that is none: half of a character in data, and file names that are not UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from craft.data.domains.manifest import DomainManifest
from craft.evaluation.results import EvaluationResults
from craft.family.family import ModelFamily
from craft.runtime.json_cards import read_json_lines
from tests.craft.cli.commands import QUICK, craft_command, done, one_error_line
from tests.craft.conftest import NAMES

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")

HALF = "\ud83d"


def questions(pictures: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{n}",
            "image": name,
            "question": "what thing",
            "choices": NAMES[:4],
            "answer": NAMES[n % 4],
        }
        for n, name in enumerate(pictures)
    ]


def labels(pictures: list[str]) -> list[dict[str, Any]]:
    return [{"image": name, "label": NAMES[n % 8]} for n, name in enumerate(pictures)]


def id_(rows: list[dict[str, Any]]) -> None:
    rows[2]["id"] = f"r{HALF}"


def question(rows: list[dict[str, Any]]) -> None:
    rows[2]["question"] += HALF


def options(rows: list[dict[str, Any]]) -> None:
    rows[2]["choices"] = [*NAMES[:3], HALF]
    rows[2]["answer"] = NAMES[0]


def answer(rows: list[dict[str, Any]]) -> None:
    del rows[2]["choices"]
    rows[2]["answer"] = HALF


def label(rows: list[dict[str, Any]]) -> None:
    rows[2]["label"] = HALF


def caption(rows: list[dict[str, Any]]) -> None:
    rows[2]["caption"] = HALF


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("change", [id_, question, options, answer, label, caption])
def test_half_of_a_character_is_refused_by_file_and_row(
    change: Callable[[list[dict[str, Any]]], None],
    ending: str,
    tiny_models: ModelFamily,
    draw: Callable[..., Path],
    tmp_path: Path,
) -> None:
    pictures = [draw(tmp_path / f"{n}.png", n).name for n in range(8)]
    rows = (labels if change in (label, caption) else questions)(pictures)
    change(rows)
    path = tmp_path / f"d.{ending}"
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if ending == "jsonl" else "[\n" + ",\n".join(lines) + "\n]")
    line = one_error_line(craft_command("data", "check", path, "--models", tiny_models.directory))
    row = 3 if ending == "jsonl" else 4
    assert f"{path}:{row}" in line
    assert f"{change.__name__.strip('_')} " in line
    assert r"holds half of a character, '\ud83d'" in line


def wild(path: Path, name: bytes) -> Path:
    """A path with a last part that is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(path) + b"/" + name))


def test_names_that_are_not_utf8_are_read_told_and_written_escaped(
    tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """Of images; models and results lie where text can say it."""
    data = tmp_path / "photos"
    for number in range(80):
        folder = data / NAMES[number // 10].replace(" ", "_")
        os.rename(draw(folder / "x.png", number), wild(folder, b"caf\xe9-%d.png" % number))
    models = ["--models", tiny_models.directory]
    shown = done(craft_command("data", "check", data, *models))
    assert "80 names that are not UTF-8; ids show their bytes as \\x.." in shown
    assert r"photos/thing_aa/caf\xe9-0.png" in shown.replace(" ", "")
    pack, out = tmp_path / "pack", tmp_path / "out"
    for words in (["adapt", "--data", data], ["evaluate", pack], ["transfer", pack], ["few-shot"]):
        refused = craft_command(*words, "--out", wild(tmp_path, b"\xfcberall"), *models)
        assert "berall: the path is not UTF-8" in one_error_line(refused)
    done(craft_command("adapt", "--data", data, "--out", pack, *models, *QUICK))
    manifest = DomainManifest.load(pack / "domain.json")
    assert r"thing_aa/caf\xe9-" in manifest.parts.train[0]
    done(craft_command("evaluate", pack, "--out", out, *models, "--test-limit", "6"))
    assert EvaluationResults.load(out).domain == "photos"
    rows = list(read_json_lines(out / "predictions.jsonl", "predictions"))
    assert all(r"/caf\xe9-" in row["id"] for row in rows if row["part"] == "domain")
    os.rename(pack, moved := wild(tmp_path, b"p\xe4ck"))
    line = one_error_line(craft_command("info", moved, *models))
    assert "ck/encoder.safetensors, " in line
    assert "has a path that is not UTF-8; rename its folder" in line


def test_a_class_whose_name_is_not_utf8_is_refused(
    tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """It is what a language model would be asked about."""
    draw(tmp_path / "cat" / "a.png")
    os.rename(draw(tmp_path / "dog" / "a.png").parent, wild(tmp_path, b"d\xf6g"))
    check = craft_command("data", "check", tmp_path, "--models", tiny_models.directory)
    assert r"d\xf6g: its name is not UTF-8" in one_error_line(check)


@pytest.mark.parametrize("option", [False, True])
def test_a_folder_that_no_manifest_could_hold_is_refused(
    option: bool, tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    folder = wild(tmp_path, b"\xe4")
    pictures = [draw(folder / f"{n}.png", n).name for n in range(8)]
    path = (tmp_path if option else folder) / "d.json"
    path.write_text(json.dumps(questions(pictures)))
    check = ["data", "check", path, "--models", tiny_models.directory]
    line = one_error_line(craft_command(*check, *(["--images", folder] if option else [])))
    assert line.endswith(r"the path is not UTF-8; rename it")
    assert rf"{tmp_path}/\xe4" in line
