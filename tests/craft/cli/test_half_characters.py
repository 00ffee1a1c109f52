"""Text that is none: half of a character in data, and file names that are not UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from craft.data.domains.manifest import DomainManifest
from craft.evaluation.results import EvaluationResults, TransferResults
from craft.family.family import ModelFamily
from craft.runtime.json_cards import read_json_lines
from tests.craft.cli.commands import FEW, QUICK, craft_command, done, one_error_line
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
    """Of images, of the folder of the data, and of what results go to."""
    data = wild(tmp_path, b"ph\xf6tos")
    for number in range(80):
        folder = data / NAMES[number // 10].replace(" ", "_")
        os.rename(draw(folder / "x.png", number), wild(folder, b"caf\xe9-%d.png" % number))
    models = ["--models", tiny_models.directory]
    shown = done(craft_command("data", "check", data, *models))
    assert "80 names that are not UTF-8; ids show their bytes as \\x.." in shown
    assert r"ph\xf6tos/thing_aa/caf\xe9-0.png" in shown.replace(" ", "")
    pack, out = wild(tmp_path, b"p\xe4ck"), wild(tmp_path, b"\xfcberall")
    done(craft_command("adapt", "--data", data, "--out", pack, *models, *QUICK))
    manifest = DomainManifest.load(pack / "domain.json")
    assert manifest.name == r"ph\xf6tos"
    assert r"thing_aa/caf\xe9-" in manifest.parts.train[0]
    line = one_error_line(craft_command("evaluate", pack, "--out", out, *models, *FEW))
    assert r"ph\xf6tos, where nothing is now" in line
    evaluate = ["evaluate", pack, "--data", data, "--out", out, *models, "--test-limit", "6"]
    done(craft_command(*evaluate))
    assert EvaluationResults.load(out).domain == r"ph\xf6tos"
    rows = list(read_json_lines(out / "predictions.jsonl", "predictions"))
    assert all(r"/caf\xe9-" in row["id"] for row in rows)
    table = ["transfer", pack, "--data", data, "--out", tmp_path / "t", *models]
    done(craft_command(*table, "--test-limit", "6"))
    assert list(TransferResults.load(tmp_path / "t").encoder_hashes) == [rf"{tmp_path}/p\xe4ck"]
    rows = list(read_json_lines(tmp_path / "t" / "predictions.jsonl", "predictions"))
    assert {row["encoder"] for row in rows} == {"pretrained", rf"{tmp_path}/p\xe4ck"}


def test_a_class_whose_name_is_not_utf8_is_refused(
    tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    """It is what a language model would be asked about."""
    draw(tmp_path / "cat" / "a.png")
    os.rename(draw(tmp_path / "dog" / "a.png").parent, wild(tmp_path, b"d\xf6g"))
    check = craft_command("data", "check", tmp_path, "--models", tiny_models.directory)
    assert r"d\xf6g: its name is not UTF-8" in one_error_line(check)


def test_a_folder_of_images_that_no_manifest_could_hold_is_refused(
    tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    images = wild(tmp_path, b"\xe4")
    pictures = [draw(images / f"{n}.png", n).name for n in range(8)]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(questions(pictures)))
    check = ["data", "check", path, "--images", images, "--models", tiny_models.directory]
    assert r"--images " in (line := one_error_line(craft_command(*check)))
    assert r"\xe4 is not UTF-8" in line
