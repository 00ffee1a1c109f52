"""Where a command writes: a new directory, or an earlier run's, never among other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from craft.errors import CraftError

MARKER = "run.yaml"


def open_run_directory(directory: Path, command: dict[str, Any], force: bool = False) -> Path:
    """Make ``directory`` ready and note in it, as ``run.yaml``, what is about to run.

    A directory that is new or empty is taken, and so is one of an earlier run, finished or not:
    repeating a command replaces its files. Nothing is ever deleted.

    Raises:
        CraftError: the directory holds other files and ``force`` is not set.
    """
    if directory.exists() and not directory.is_dir():
        raise CraftError(f"--out {directory} is a file; name a directory")
    earlier_run = (directory / MARKER).is_file()
    if directory.is_dir() and any(directory.iterdir()) and not (earlier_run or force):
        raise CraftError(
            f"--out {directory} holds files but no {MARKER}, so it is not an earlier run; choose "
            "another directory, or --force to write among those files"
        )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARKER).write_text(yaml.safe_dump(command, sort_keys=False))
    return directory
