"""The linter holds the order of dependencies, and a wrong import breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Without the finder of an editable installation, which would lead back to this tree.
CHECK = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
sys.path.insert(0, ".")
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename="pyproject.toml", no_cache=True))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    pytest.importorskip("importlinter")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("craft", "craft_kernels"):
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tree, capture_output=True, text=True, check=False
    )


def test_the_order_is_kept(tree: Path) -> None:
    found = lint(tree)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("craft/codebook/codebook.py", "craft.models.vision_tower"),
        ("craft/workbench/adapt.py", "craft.pocket.domains"),
        ("craft/data/questions.py", "craft.training.adapt"),
        ("craft_kernels/ops.py", "craft.errors"),
    ],
)
def test_an_import_against_the_order_fails(tree: Path, file: str, wrong: str) -> None:
    path = tree / file
    path.write_text(f"{path.read_text()}\n\ndef late():\n    import {wrong}\n")
    found = lint(tree)
    assert found.returncode == 1
    assert wrong.rsplit(".", 1)[0] in found.stdout
