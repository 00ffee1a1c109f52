"""Damaged files of our formats are read as they are, or are refused quickly in one line."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from craft.evaluation.results import EvaluationResults
from craft.family.family import ModelFamily
from craft.family.manifest import write_anew
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.runtime.json_cards import with_checksum
from craft.runtime.yaml_files import yaml_text
from craft.settings.presets import preset
from craft.settings.reading import read_settings
from craft.workbench.run_directory import MARKER, note_run, require_run_directory
from tests.craft.evaluation.test_results import evaluation
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped


def signed(data: bytes, rng: random.Random) -> bytes:
    """Wrong types with a correct checksum."""
    content = json.loads(retyped(data, rng))
    if not isinstance(content, dict):
        return json.dumps(content).encode()
    return json.dumps(with_checksum(content)).encode()


def tangled(data: bytes, rng: random.Random) -> bytes:
    """Damage specific to YAML: another mark, value or encoding, or a repeated line."""
    text = data.decode()
    lines = text.splitlines()
    choice = rng.randrange(4)
    if choice == 0:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    elif choice == 1:
        at = rng.randrange(len(lines))
        marks = ["&a ", "*a", "!!float ", "!!python/name:os.system ", "[", "{", "- ", "? ", "| "]
        lines[at] = lines[at].replace(": ", f": {rng.choice(marks)}", 1)
    elif choice == 2:
        at = rng.randrange(len(lines))
        values = [".nan", "-.inf", "1e999", "9" * 40, "2020-01-01", "[" * 300, "~", "yes"]
        lines[at] = lines[at].split(":")[0] + f": {rng.choice(values)}"
    else:
        return text.encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"]))
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture(scope="module")
def family(tiny_models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = shutil.copytree(tiny_models_dir, tmp_path_factory.mktemp("family") / "models")
    write_anew(directory)
    return directory


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped, signed])
def test_cards_of_language_models(family, damage, rounds):
    known = AlignedLanguageModel.from_pretrained(family / "qwen2")
    path = family / "qwen2" / "craft.json"

    def read(case):
        found = AlignedLanguageModel.from_pretrained(family / "qwen2")
        if damage is not signed:  # whose contents differ, with a matching checksum
            assert found.name == known.name
            assert found.codebook_fingerprint == known.codebook_fingerprint
            assert found.template.to_dict() == known.template.to_dict()
            assert found.language_model.dtype == known.language_model.dtype

    fuzz_file(path, read, rounds, damage)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped, signed])
def test_manifests_of_families(family, damage, rounds):
    path = family / "manifest.json"
    known = ModelFamily(family)

    def read(case):
        found = ModelFamily(family)
        assert found.codebook == known.codebook
        if damage is not signed:
            assert found.names == known.names
            assert found.retention == known.retention
            assert found.manifest.files == known.manifest.files

    fuzz_file(path, read, rounds, damage)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, tangled])
def test_settings(tmp_path, damage, rounds):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml_text(preset("craft").model_dump()))

    def read(case):
        found = flat(read_settings("craft", path).model_dump())
        assert not [x for x in found.values() if isinstance(x, float) and not math.isfinite(x)]
        text = case.decode("utf-8-sig")  # otherwise it would have been refused
        said = flat(yaml.safe_load(text) or {})
        for name, value in said.items():
            if name != "epochs" and value is not None and not isinstance(value, list | bool):
                assert str(found[name]) == str(value) or float(found[name]) == float(value), name

    fuzz_file(path, read, rounds, damage)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, tangled])
def test_notes_of_runs(tmp_path, damage, rounds):
    command = {"command": "adapt", "domain": "flags", "config": preset("craft").model_dump()}
    note_run(tmp_path, command)
    (tmp_path / "pack.json").touch()

    def read(case):
        earlier = require_run_directory(tmp_path, "adapt", resume=True)
        assert earlier
        assert yaml.safe_load(case.decode("utf-8-sig"))["command"] == "adapt"

    fuzz_file(tmp_path / MARKER, read, rounds, damage)
    assert not require_run_directory(tmp_path, "adapt", force=True)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_results(tmp_path, damage, rounds):
    path = evaluation().save(tmp_path)

    def read(case):
        found = EvaluationResults.load(tmp_path).model_dump(mode="json")
        # As in the file, except that 0 may be read as a float.
        assert _as_read(json.dumps(found)) == _as_read(case)

    fuzz_file(path, read, rounds, damage)


def _as_read(text: str | bytes) -> str:
    return repr(json.loads(text, parse_int=float))
