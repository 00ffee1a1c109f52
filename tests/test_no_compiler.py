"""Without a C++ compiler, the build says what to install, and nothing else."""

import subprocess
from pathlib import Path

import cmake
import ninja
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PATH": "/nonexistent"}, id="nothing on PATH"),
        pytest.param({"PATH": "/nonexistent", "CXX": "/nonexistent/c++"}, id="CXX leads nowhere"),
    ],
)
def test_configure_without_compiler(tmp_path: Path, environment: dict[str, str]):
    configure = [
        *(f"{cmake.CMAKE_BIN_DIR}/cmake", "-S", str(ROOT), "-B", str(tmp_path), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={ninja.BIN_DIR}/ninja",
    ]
    result = subprocess.run(configure, env=environment, capture_output=True, text=True)
    said = " ".join(result.stderr.split())  # CMake wraps lines
    assert result.returncode != 0
    assert "craft_kernels needs a C++20 compiler and none was found." in said
    assert "apt-get install g++" in said
    assert said.count("CMake Error") == 1, result.stderr
