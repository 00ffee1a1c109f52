"""Writing of folders whose files change together: all are complete before any is put in place.

Errors are those of :mod:`craft.runtime.whole_file`.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from craft.runtime.whole_file import (
    WriteError,
    flush,
    flush_directory,
    new_file,
    write_errors,
)


@contextmanager
def files_together(directory: Path | str, needs: int | None = None) -> Generator[Path]:
    """Yield an empty folder to write to; after the block its files are renamed into ``directory``.

    Other files in ``directory`` stay. All files are complete before the first is renamed, so a
    failure while writing leaves ``directory`` unchanged.

    Args:
        needs: bytes that will be written, for the message about a full disk.

    Raises:
        OSError: a file could not be written.
    """
    directory = Path(directory)
    with write_errors(directory, needs):
        directory.mkdir(parents=True, exist_ok=True)
        with _folder_beside(directory / "files") as written:
            with _named(written, directory):
                yield written
            for file in list(_files(written)):
                place = directory / file.relative_to(written)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)


@contextmanager
def parts_swapped(
    directory: Path | str, parts: Collection[str], card: str, needs: int | None = None
) -> Generator[Path]:
    """Yield an empty folder to write an object's parts to, which then replace the earlier parts.

    ``directory`` may hold other files, which stay, so the folder cannot be swapped as a whole. The
    object, such as a pack, exists if and only if its card does: the old card is removed first, then
    the old parts; the new parts are put in place, and the new card comes last. A process killed in
    between leaves a directory without a card, hence no object; writing again completes it.

    Args:
        parts: names of all files and folders that may belong to the object; old ones that are not
            written again are removed.
        card: the file whose presence makes the parts an object.
        needs: bytes that will be written, for the message about a full disk.

    Raises:
        OSError: the parts could not be written, and ``directory`` is unchanged; or they could not
            be put in place, and ``directory`` holds no card.
    """
    directory = Path(directory)
    with write_errors(directory, needs):
        directory.mkdir(parents=True, exist_ok=True)
        with _folder_beside(directory / "parts") as folder:
            written, old = folder / "new", folder / "old"
            written.mkdir()
            old.mkdir()
            with _named(written, directory):
                yield written
            for _ in _files(written):
                pass
            new = sorted(path.name for path in written.iterdir() if path.name != card)
            moves = [(directory / name, old / name) for name in (card, *sorted({*parts, *new}))]
            moves += [(written / name, directory / name) for name in (*new, card)]
            try:
                _move(moves)
            except KeyboardInterrupt:
                _move(moves)  # the remaining moves, so that the object is complete
                raise


def _move(moves: list[tuple[Path, Path]]) -> None:
    """Make moves in order, each flushed to disk before the next, and delete them from the list."""
    while moves:
        source, target = moves[0]
        if source.exists() or source.is_symlink():
            os.replace(source, target)
            flush_directory(target.parent)
            flush_directory(source.parent)
        del moves[0]


@contextmanager
def whole_directory(path: Path | str, needs: int | None = None) -> Generator[Path]:
    """Yield an empty folder to write to; after the block it is renamed to ``path``.

    What processes that were killed left beside ``path`` is removed.

    Args:
        needs: bytes that will be written, for the message of a full disk.

    Raises:
        OSError: the folder could not be written, or ``path`` exists and is not an empty folder;
            nothing is left behind.
    """
    path = Path(path)
    with write_errors(path, needs):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        with _folder_beside(path) as written:
            with _named(written, path):
                yield written
            for _ in _files(written):
                pass
            os.replace(written, path)
            flush_directory(path.parent)


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """An empty folder, locked as long as this process has it, and gone afterwards."""
    written = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    number = os.open(written, os.O_RDONLY)
    try:
        _lock(number)
        yield written
    finally:
        shutil.rmtree(written, ignore_errors=True)
        os.close(number)


@contextmanager
def _named(written: Path, path: Path) -> Iterator[None]:
    """Name ``path`` in errors instead of the folder beside it, which is about to vanish."""
    try:
        yield
    except WriteError as error:
        raise WriteError(str(error).replace(str(written), str(path))) from error


def _remove_left(path: Path) -> None:
    """Remove folders beside ``path`` that processes left which were writing it and are gone."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not re.fullmatch(r"\.\d+\.part", left.name[len(path.name) + 1 :]) or left.is_symlink():
            continue
        try:
            number = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            if _lock(number):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(number)


def _lock(number: int) -> bool:
    """Take the system's lock of an open folder; whether it was free, as far as the disk tells."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the disk knows no such locks
        return False
    return True


def _files(directory: Path) -> Iterator[Path]:
    """All files under a folder, each with the mode that the umask gives, and on the disk; links
    are none."""
    probe = directory / ".mode"
    mode = new_file(probe)
    probe.unlink()
    folders = [directory]
    for file in sorted(directory.rglob("*")):
        if file.is_symlink():
            continue
        if file.is_file():
            file.chmod(mode)
            flush(file)
            yield file
        elif file.is_dir():
            folders.append(file)
    for folder in folders:
        if folder.is_dir():  # not if it was moved meanwhile
            flush_directory(folder)
