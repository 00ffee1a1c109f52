"""Where a command writes: a new directory, or one whose earlier run may go on or be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from craft.errors import CraftError
from craft.evaluation.journal import UNFINISHED
from craft.runtime.directory_lock import directory_lock, require_unlocked
from craft.runtime.rank import is_main_process
from craft.runtime.stored_files import StoredFileError
from craft.runtime.strict_text import is_text
from craft.runtime.whole_file import remove_unfinished, write_text
from craft.runtime.yaml_files import read_yaml, yaml_text

MARKER = "run.yaml"
#: Of run.yaml; those of the first format have no number.
FORMAT = 2
#: What a run writes before there is anything to lose.
_NOTES = {MARKER, "config.yaml"}

_held = ExitStack()


class RunNote(BaseModel):
    """What ``run.yaml`` says: what ran in a directory.

    Attributes:
        command: such as "adapt".
        ran_with: its settings, and the names of what it worked on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int = FORMAT
    command: str
    ran_with: dict[str, Any] = {}

    def save(self, directory: Path) -> None:
        """Write ``directory/run.yaml``, whole or not at all."""
        write_text(directory / MARKER, yaml_text(self.model_dump()))

    @classmethod
    def load(cls, directory: Path) -> RunNote | None:
        """The note of a directory; None if it has none.

        Raises:
            CraftError: a note that nobody can read, or one of a later version.
        """
        path = directory / MARKER
        if not path.is_file():
            return None
        try:
            found = read_yaml(path, "the note of an earlier run")
            if "format" not in found:
                command = found.pop("command", None)
                found = {"format": 1, "command": command, "ran_with": found}
            note = cls.model_validate(found)
        except (StoredFileError, ValidationError) as error:
            raise CraftError(
                f"{path} is damaged, so nothing says what ran there ({_why(error)}); choose "
                "another directory, or --force to write among its files"
            ) from error
        if note.format > FORMAT:
            raise CraftError(
                f"{path} has format {note.format}, this version reads 1 to {FORMAT}; update the "
                "package, or choose another directory"
            )
        return note


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
    if not is_text(str(directory)):  # weights could not be written there
        raise CraftError(f"--out {directory}: the path is not UTF-8; choose another one")
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
    try:
        note = RunNote.load(directory)
    except CraftError:
        if force:
            return False
        raise
    earlier = None if note is None else note.command
    if note is not None and earlier == command and resume and note.format == FORMAT:
        return True
    unfinished = (directory / UNFINISHED).is_dir()  # the command itself finds what is done
    if force or (earlier == command and (unfinished or held <= _NOTES)):
        return False
    if note is None:
        raise CraftError(
            f"--out {directory} holds files but no {MARKER}, so it is not an earlier run; choose "
            "another directory, or --force to write among those files"
        )
    if earlier != command:
        raise CraftError(
            f"--out {directory} holds what `craft {earlier}` wrote; choose another directory, or "
            "--force to write among those files"
        )
    if note.format < FORMAT and resume:
        raise CraftError(
            f"--out {directory} holds a run of `craft {command}` by an earlier version, which this "
            "one cannot go on with; choose another directory, or --force to replace it"
        )
    resumable = resume is not None and note.format == FORMAT
    go_on = "--resume auto to go on with that run, " if resumable else ""
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
    return _held.enter_context(_locked_run(directory, command, resume, force))


@contextmanager
def run_directory(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> Iterator[None]:
    """:func:`open_run_directory` for the length of a block.

    Of several processes, the first one locks and writes.
    """
    require_run_directory(directory, command["command"], resume=resume, force=force, locked=False)
    with _locked_run(directory, command, resume, force) if is_main_process() else nullcontext():
        yield


@contextmanager
def _locked_run(
    directory: Path, command: dict[str, Any], resume: bool | None, force: bool
) -> Iterator[bool]:
    with directory_lock(directory):
        remove_unfinished(directory)
        yield note_run(directory, command, resume=resume, force=force)


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
        ran_with = {name: value for name, value in command.items() if name != "command"}
        RunNote(command=command["command"], ran_with=ran_with).save(directory)
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


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
