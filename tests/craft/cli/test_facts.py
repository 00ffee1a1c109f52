"""``craft info`` states what is known, readably, and claims nothing else."""

import shutil

import pytest

from craft.pocket.family import directory
from tests.craft.cli.commands import craft_command, done

pytestmark = pytest.mark.usefixtures("quiet_process")


def test_files_that_no_manifest_lists_are_not_called_as_built(tiny_models, tmp_path):
    models = shutil.copytree(tiny_models.directory, tmp_path / "models")
    for _ in ("with an empty list", "without a manifest"):
        shown = done(craft_command("info", "--models", models))
        assert "as built" not in shown
        assert "no manifest lists them" in shown
        (models / "manifest.json").unlink(missing_ok=True)


def test_the_shipped_files_are_as_built():
    shown = done(craft_command("info", "--models", directory()))
    assert " as built" in shown
    assert "not as built" not in shown


def test_a_pack_is_shown_in_lines_and_no_dicts(pack, tiny_models):
    result = craft_command("info", pack, "--models", tiny_models.directory)
    shown = done(result)
    assert "{" not in result.stdout
    assert "surrogate qwen2" in shown
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any("checkpoint.every = " in line for line in lines)
    assert any(line.endswith("steps = 2") for line in lines)
