"""Where a command writes: a new directory, or one whose earlier run may go on or be replaced."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from craft.errors import CraftError
from craft.evaluation.journal import UNFINISHED
from craft.runtime.directory_lock import directory_lock, require_unlocked
from craft.runtime.whole_file import remove_unfinished, write_text
from craft.runtime.yaml_files import read_yaml, yaml_text

MARKER = "run.yaml"
#: What a run writes before there is anything to lose.
_NOTES = {MARKER, "config.yaml"}

_held = ExitStack()


def require_run_directory(
    directory: Path,
    command: str,
    *,
    resume: bool | None = None,
    force: bool = False,
    locked: bool = True,
) -> bool:
    """Check, before anything long starts, that ``command`` may write to ``directory``.

    A directory that is new or empty is taken. An earlier run of the same command is gone on with
    if ``resume`` is set, and replaced only with ``force``.

    Args:
        command: such as "adapt"; earlier runs are told apart by it.
        resume: whether the command goes on with an earlier run; None if it never can.
        locked: whether to refuse a directory that a process holds; not if it is this one.

    Returns:
        Whether there is an earlier run of this command to go on with.

    Raises:
        CraftError: a file, or a directory that holds another command's run, an earlier run, or
            other files, and ``force`` is not set.
        LockedError: another process writes there.
    """
    if not directory.is_dir():
        above = directory
        while not above.exists():
            above = above.absolute().parent
        if not above.is_dir():
            what = "is a file" if above == directory else f"cannot be: {above} is a file"
            raise CraftError(f"--out {directory} {what}; name a directory")
        return False
    if locked:
        require_unlocked(directory)
    held = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    if not held:
        return False
    earlier = None if force and not resume else _command_in(directory)
    if earlier == command and resume:
        return True
    unfinished = (directory / UNFINISHED).is_dir()  # the command itself finds what is done
    if force or (earlier == command and (unfinished or held <= _NOTES)):
        return False
    if earlier is None:
        raise CraftError(
            f"--out {directory} holds files but no {MARKER}, so it is not an earlier run; choose "
            "another directory, or --force to write among those files"
        )
    if earlier != command:
        raise CraftError(
            f"--out {directory} holds what `craft {earlier}` wrote; choose another directory, or "
            "--force to write among those files"
        )
    go_on = "" if resume is None else "--resume auto to go on with that run, "
    raise CraftError(
        f"--out {directory} holds an earlier run of `craft {command}`; choose another directory, "
        f"{go_on}or --force to replace it"
    )


def open_run_directory(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> bool:
    """Make ``directory`` ready, and lock it until :func:`release_directories`, which the command
    line calls when a command has ended.

    Otherwise as :func:`note_run`.

    Raises:
        LockedError: another process writes there.
    """
    require_run_directory(directory, command["command"], resume=resume, force=force)
    _held.enter_context(directory_lock(directory))
    remove_unfinished(directory)
    return note_run(directory, command, resume=resume, force=force)


def release_directories() -> None:
    """Let go of all directories that :func:`open_run_directory` locked."""
    _held.close()


def note_run(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> bool:
    """Note in ``directory``, as ``run.yaml``, what is about to run.

    The note of a run that is gone on with stays as it is. Nothing is deleted.

    Args:
        command: what ran: its name as ``command``, and what it ran with.
        resume, force: as for :func:`require_run_directory`.

    Returns:
        Whether an earlier run is gone on with.

    Raises:
        CraftError: see :func:`require_run_directory`.
        OSError: nothing can be written there.
    """
    going_on = require_run_directory(
        directory, command["command"], resume=resume, force=force, locked=False
    )
    if not going_on:
        write_text(directory / MARKER, yaml_text(command))
    return going_on


def require_new_file(path: Path | None, option: str, force: bool = False) -> None:
    """Raises CraftError unless ``path``, if there is one, can become a file without replacing
    another, or with ``force``."""
    if path is None:
        return
    if path.is_dir():
        raise CraftError(f"{option} {path} is a directory; name a file in it")
    if path.exists() and not force:
        raise CraftError(f"{option} {path} exists; choose another file, or --force to replace it")


def _command_in(directory: Path) -> str | None:
    """The command whose run ``directory`` holds; None if it holds no run."""
    marker = directory / MARKER
    if not marker.is_file():
        return None
    noted = read_yaml(marker, "the note of an earlier run")
    return str(noted["command"]) if "command" in noted else None
