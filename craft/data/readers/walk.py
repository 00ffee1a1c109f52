"""The files of a folder, for all readers: which are data, which are junk, which are broken."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from craft.data.readers.account import Account
from craft.data.readers.place import DataError, Place
from craft.runtime.stored_files import is_lfs_pointer, kind_of_special

HIDDEN = "hidden or system files and folders"

_JUNK_FOLDERS = frozenset(
    {"__macosx", "@eadir", "__pycache__", "#recycle", "$recycle.bin", "lost+found", "#snapshot"}
    | {"system volume information"}
)
_JUNK_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_LFS_SIZE = 1024
_MISSING, _DANGLING, _EMPTY = (
    "no such file",
    "a link to a file that does not exist",
    "the file is empty",
)
#: Problems of files whose content is lost; a pointer or missing permissions can be fixed.
LOST = frozenset({_MISSING, _DANGLING, _EMPTY})


def walk(root: Path, account: Account) -> list[Path]:
    """List all files below ``root`` sorted by name, following links.

    Skipped and reported in the account are hidden files and folders, those left behind by systems
    and tools (``__MACOSX/``, ``@eaDir/``, ``Thumbs.db``, ``.git/`` and others), links back to a
    folder above them, and anything that is neither a file nor a folder. Broken links are listed as
    files, so that their reader reports them as missing.

    Raises:
        DataError: a folder cannot be opened.
    """
    return list(_files(root, account, (_identity(root),)))


def _files(folder: Path, account: Account, above: tuple[tuple[int, int], ...]) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(
            Place(folder), f"the folder cannot be opened ({error.strerror}); check its permissions"
        ) from error
    files: list[Path] = []
    for name in names:
        path = folder / name
        try:
            mode = path.stat().st_mode
        except OSError:
            mode = stat.S_IFREG  # a broken link, or no permission
        if is_junk(name, stat.S_ISDIR(mode)):
            account.skip(HIDDEN, path)
        elif stat.S_ISDIR(mode):
            identity = _identity(path)
            if identity in above:
                account.skip("links back to a folder above them", path)
            else:
                files += _files(path, account, (*above, identity))
        elif stat.S_ISREG(mode):
            files.append(path)
        else:
            account.skip("paths that are neither files nor folders", path)
    return files


def is_junk(name: str, folder: bool = False) -> bool:
    """Whether a name is hidden, or one that systems and tools leave behind.

    >>> is_junk("._a.png"), is_junk("@eaDir", folder=True), is_junk("a.png")
    (True, True, False)
    """
    junk = _JUNK_FOLDERS if folder else _JUNK_FILES
    return name.startswith(".") or name.lower() in junk


def problem_of(path: Path) -> str | None:
    """Say why a file has no data: missing, empty, a FIFO, or a Git LFS pointer; otherwise None."""
    try:
        status = path.stat()
        kind, size = kind_of_special(status.st_mode), status.st_size
        if kind is not None:
            return f"it is {kind}; only regular files are read"
        if size >= _LFS_SIZE:
            return None
        if size == 0:
            return _EMPTY
        pointer = is_lfs_pointer(path)
    except FileNotFoundError:
        return _DANGLING if path.is_symlink() else _MISSING
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if pointer:
        return "a Git LFS pointer instead of the file itself; run `git lfs pull` in its repository"
    return None


def require_whole(path: Path) -> None:
    """Raise DataError, with the reason, if a file has no data; see :func:`problem_of`."""
    problem = problem_of(path)
    if problem is not None:
        raise DataError(Place(path), problem)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
