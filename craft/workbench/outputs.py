"""What every command does with its outputs, without loading what the work itself needs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from craft.errors import CraftError

#: Locks of the directories that this process writes to until its command ends.
held = ExitStack()


def release_directories() -> None:
    """Unlock all directories that `run_directory.open_run_directory` locked."""
    held.close()


def require_new_file(path: Path | None, option: str, force: bool = False) -> None:
    """Raises CraftError if ``path`` is a directory, or exists and ``force`` is not set."""
    if path is None:
        return
    if path.is_dir():
        raise CraftError(f"{option} {path} is a directory; name a file in it")
    if path.exists() and not force:
        raise CraftError(f"{option} {path} exists; choose another file, or --force to replace it")
