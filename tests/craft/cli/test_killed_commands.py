"""``kill -9`` at any instant of a command: run again it gives the same, or tells the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.craft.cli.killed_commands import COMMANDS

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random_instants(
    command: str, kills: int, tiny_models_dir: Path, tmp_path: Path
) -> None:
    words = [command, tiny_models_dir, tmp_path / "root", kills, 0]
    done = subprocess.run(
        [sys.executable, "-m", "tests.craft.cli.killed_commands", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["died"] == kills
    if kills > 2:  # how many, depends on the machine
        assert found["midway"] > 0
