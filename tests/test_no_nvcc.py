"""CRAFT_CUDA: without nvcc the build goes on, unless it was told that the CUDA kernels must be."""

import subprocess
import sys
from pathlib import Path

import cmake
import ninja
import pybind11
import pytest

ROOT = Path(__file__).parents[1]


def configure(folder: Path, *options: str):
    command = [
        *(f"{cmake.CMAKE_BIN_DIR}/cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={ninja.BIN_DIR}/ninja",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DCMAKE_CUDA_COMPILER=NOTFOUND",
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    targets = (folder / "build.ninja").read_text() if not result.returncode else ""
    return result, " ".join((result.stdout + result.stderr).split()), "prune_order.cu" in targets


@pytest.mark.parametrize("options", [[], ["-DCRAFT_CUDA=AUTO"], ["-DCRAFT_CUDA=OFF"]])
def test_goes_on_without(tmp_path, options):
    result, said, built = configure(tmp_path, *options)
    assert result.returncode == 0, said
    assert not built
    left_out = "CUDA kernels are left out: nvcc 12.8 or newer is needed and was not found"
    assert (left_out in said) == (options != ["-DCRAFT_CUDA=OFF"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ON", "CRAFT_CUDA is ON, but nvcc 12.8 or newer is needed and was not found."),
        ("maybe", "CRAFT_CUDA must be AUTO, ON or OFF, got 'maybe'."),
    ],
)
def test_says_what_is_wrong(tmp_path, value, message):
    result, said, _ = configure(tmp_path, f"-DCRAFT_CUDA={value}")
    assert result.returncode != 0
    assert message in said
