"""`import craft` is cheap, and its names refer to the same things however they are imported."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import craft


def run(code: str) -> str:
    """Standard output of `code` in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return result.stdout.strip()


def test_import_loads_nothing_large():
    loaded = run(
        "import sys; before = set(sys.modules); import craft; print(*(set(sys.modules) - before))"
    ).split()
    heavy = {"torch", "numpy", "transformers", "safetensors", "triton", "craft_kernels"}
    assert not heavy & {name.split(".")[0] for name in loaded}
    assert len(loaded) < 60


def test_modules_do_not_shadow_functions():
    code = """
import craft.pruning
from craft.quantization import commitment
import craft
print(craft.prune.__name__, craft.quantize.__name__, craft.commitment is commitment)
"""
    assert run(code) == "prune quantize True"


def test_every_public_name_resolves():
    for name in craft.__all__:
        assert name in dir(craft)
        assert getattr(craft, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        _ = craft.prun


def test_version_is_that_of_the_project_file():
    try:
        installed = importlib.metadata.version("craft-vlm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("craft-vlm is not installed, only on the path")
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    declared = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert declared
    assert craft.__version__ == installed == declared[1]
