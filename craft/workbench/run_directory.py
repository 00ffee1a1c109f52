"""Output directories of commands: new ones, or ones whose earlier run is resumed or replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from craft.workbench.outputs import held

MARKER = "run.yaml"
#: Format number of run.yaml; files of the first format have none.
FORMAT = 2
#: Files that a run writes before there is anything to lose.
_NOTES = {MARKER, "config.yaml"}


class RunNote(BaseModel):
    """Content of ``run.yaml``: what ran in a directory.

    Attributes:
        command: its name, such as "adapt".
        ran_with: its settings and the names of its inputs.
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
            CraftError: the note is damaged, or of a later version.
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
                f"{path} is damaged, so what ran there is unknown ({_why(error)}); choose "
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

    A new or empty directory is accepted. An earlier run of the same command is resumed if
    ``resume`` is set, and replaced only with ``force``.

    Args:
        command: its name, such as "adapt", which identifies earlier runs.
        resume: whether to resume an earlier run; None if the command never can.
        locked: whether to refuse a locked directory; False if this process holds the lock.

    Returns:
        Whether there is an earlier run to resume.

    Raises:
        CraftError: ``directory`` is a file; or it holds another command's run, an earlier run or
            other files, and ``force`` is not set.
        LockedError: another process is writing there.
    """
    if not is_text(str(directory)):  # weights could not be written there
        raise CraftError(f"--out {directory}: the path is not UTF-8; choose another one")
    if not directory.is_dir():
        above = directory
        while not above.exists():
            above = above.absolute().parent
        if not above.is_dir():
            what = "is a file" if above == directory else f"cannot be made: {above} is a file"
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
    unfinished = (directory / UNFINISHED).is_dir()  # the command itself finds what is already done
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
            "one cannot resume; choose another directory, or --force to replace it"
        )
    resumable = resume is not None and note.format == FORMAT
    resume_hint = "--resume auto to resume that run, " if resumable else ""
    raise CraftError(
        f"--out {directory} holds an earlier run of `craft {command}`; choose another directory, "
        f"{resume_hint}or --force to replace it"
    )


def open_run_directory(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> bool:
    """Prepare ``directory`` and lock it until `outputs.release_directories` is called.

    The command line calls that when a command ends. Otherwise like :func:`note_run`.

    Raises:
        LockedError: another process is writing there.
    """
    require_run_directory(directory, command["command"], resume=resume, force=force)
    return held.enter_context(_locked_run(directory, command, resume, force))


@contextmanager
def run_directory(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> Iterator[None]:
    """Prepare ``directory`` and lock it for the duration of a block.

    Of several processes, only the first locks and writes.
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


def note_run(
    directory: Path, command: dict[str, Any], *, resume: bool | None = None, force: bool = False
) -> bool:
    """Write ``run.yaml``, which says what is about to run, to ``directory``.

    The note of a resumed run stays as it is. Nothing is deleted.

    Args:
        command: its name as ``command``, and its settings and inputs.
        resume, force: as for :func:`require_run_directory`.

    Returns:
        Whether an earlier run is resumed.

    Raises:
        CraftError: see :func:`require_run_directory`.
        OSError: ``directory`` cannot be written.
    """
    resuming = require_run_directory(
        directory, command["command"], resume=resume, force=force, locked=False
    )
    if not resuming:
        ran_with = {name: value for name, value in command.items() if name != "command"}
        RunNote(command=command["command"], ran_with=ran_with).save(directory)
    return resuming


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
