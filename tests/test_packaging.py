"""What `pip install craft-vlm` brings: every module and data file, the command, the types."""

import importlib
import re
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("craft", "craft_kernels")
# Built or cached beside the sources, so not for the wheel to copy.
BY_PRODUCTS = {".so", ".pyd", ".pyc"}


def source_files() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in BY_PRODUCTS
    }


def package_names() -> list[str]:
    folders = {Path(name).parent for name in source_files() if name.endswith(".py")}
    return sorted(".".join(folder.parts) for folder in folders)


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel made by the real backend, without the C++ part so that it is quick."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"build_wheel({str(folder)!r}, {{'wheel.cmake': 'false'}})"
    command = [sys.executable, "-c", f"from scikit_build_core.build import build_wheel; {build}"]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_carries_every_source_and_data_file(wheel_files: set[str]):
    missing = source_files() - wheel_files
    assert not missing, f"left out of the wheel, by .gitignore perhaps: {sorted(missing)}"


def test_wheel_carries_nothing_but_the_packages(wheel_files: set[str]):
    top = {name.split("/")[0] for name in wheel_files if ".dist-info/" not in name}
    assert top == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(wheel_files: set[str], package: str):
    assert f"{package}/py.typed" in wheel_files


@pytest.mark.parametrize("name", package_names())
def test_every_folder_with_code_is_an_importable_package(name: str):
    module = importlib.import_module(name)
    assert module.__file__, f"{name} has no __init__.py"


def test_installed_version_is_the_one_written_down():
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert written
    assert version("craft-vlm") == written[1], "the installation is stale: run `make venv`"
    assert f"## [{written[1]}]" in (ROOT / "CHANGELOG.md").read_text()


def test_craft_command_exists():
    (command,) = entry_points(group="console_scripts", name="craft")
    assert callable(command.load())


def test_every_line_that_installs_works_from_a_clone():
    """No index has this package, so extras are asked for by what is in them, at their versions."""
    wanted = (ROOT / "pyproject.toml").read_text()
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *sources]:
        text = path.read_text()
        assert "craft-vlm[" not in text, path
        for name in re.findall(r"pip install '([^']+)'", text):
            assert name.startswith((".", "-")) or f'"{name}"' in wanted, f"{path}: {name}"


def test_file_names_say_what_is_inside():
    folders = (ROOT / name for name in (*PACKAGES, "csrc", "tests", "benchmarks"))
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    files = (path for folder in folders for path in folder.rglob("*"))
    assert not [path for path in files if path.stem.strip("_") in vague]
