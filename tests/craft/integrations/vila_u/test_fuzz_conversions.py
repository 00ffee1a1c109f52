"""Damaged checkpoints of VILA-U, and damaged records of a conversion, are one line or whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from craft.integrations.vila_u.convert import convert
from craft.integrations.vila_u.restore import restore
from craft.runtime.stored_tensors import read_header
from tests.craft.fuzzing import ROUNDS, Damage, damaged, fuzz_file, retyped
from tests.craft.integrations.vila_u.released import Released, write_released
from tests.craft.test_fuzz_own_files import signed


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return write_released(tmp_path / "vila-u-7b-256", Released())


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped, signed])
def test_records_of_conversions(
    released: Path, tmp_path: Path, damage: Damage, rounds: int
) -> None:
    models, out = tmp_path / "models", tmp_path / "back"
    convert(released, models)
    names = set(files(released))

    def read(case: bytes) -> None:
        restore(models, out)
        found = set(files(out))
        shutil.rmtree(out)
        assert damage is signed or found == names

    fuzz_file(models / "vila_u" / "conversion.json", read, rounds, damage, folder=tmp_path)
    assert not out.exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@ROUNDS
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", damaged),
        ("vision_tower/config.json", damaged),
        ("vision_tower/config.json", retyped),
        ("vision_tower/model.safetensors", damaged),
        ("mm_projector/config.json", retyped),
        ("mm_projector/model.safetensors", damaged),
        ("llm/config.json", damaged),
        ("llm/config.json", retyped),
        ("llm/tokenizer.json", damaged),
    ],
)
def test_checkpoints(
    released: Path, tmp_path: Path, name: str, damage: Damage, rounds: int
) -> None:
    out = tmp_path / "models"

    def read(case: bytes) -> None:
        convert(released, out)
        read_header(out / "siglip" / "model.safetensors")
        shutil.rmtree(out)

    fuzz_file(released / name, read, rounds, damage, folder=tmp_path)
    assert not out.exists()
