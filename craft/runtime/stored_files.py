"""Checks and hashes of stored files."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from craft.errors import CraftError

#: The beginning of the pointer that Git LFS leaves in place of a file that was not fetched.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


class StoredFileError(CraftError):
    """A file is missing, damaged, truncated, or not what its name says."""


def kind_of_special(mode: int) -> str | None:
    """Describe a path by its ``st_mode``, e.g. "a FIFO" or "a device"; None for a regular file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def is_lfs_pointer(path: Path | str) -> bool:
    """Whether a file is a Git LFS pointer, left in place of a file that was not fetched."""
    with Path(path).open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def require_file(path: Path | str, what: str) -> Path:
    """Return the path of a file, once it is known to exist and have content.

    Args:
        what: what the file is, for the error message, such as "the encoder's weights".

    Raises:
        StoredFileError: the file is missing, empty, not regular, or a Git LFS pointer.
    """
    path = Path(path)
    if not path.is_file():
        kind = kind_of_special(path.stat().st_mode) if path.exists() else None
        said = "is missing" if kind is None else f"is {kind}; only regular files are read"
        raise StoredFileError(f"{path}, {what}, {said}")
    if path.stat().st_size == 0:
        raise StoredFileError(f"{path}, {what}, is empty; get the file again")
    if is_lfs_pointer(path):
        raise StoredFileError(
            f"{path}, {what}, is a Git LFS pointer, not the file itself: run `git lfs pull` in the "
            "repository it came from"
        )
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(directory: Path) -> dict[str, str]:
    """Name -> SHA-256 of all files under a folder except hidden ones, sorted by name."""
    names = {path.relative_to(directory): path for path in directory.rglob("*") if path.is_file()}
    return {
        name.as_posix(): file_hash(path)
        for name, path in sorted(names.items())
        if not any(part.startswith(".") for part in name.parts)
    }


def require_unchanged(directory: Path, known: Mapping[str, str], list_name: str) -> None:
    """Check files against a list of their hashes.

    Args:
        known: name relative to ``directory`` -> SHA-256.
        list_name: the file that contains the list, for the error message.

    Raises:
        StoredFileError: a file is missing, differs from the listed one, or is listed with a path
            outside ``directory``; the message names it.
    """
    for name, wanted in known.items():
        parts = PurePosixPath(name).parts
        if ".." in parts or PurePosixPath(name).is_absolute():
            raise StoredFileError(
                f"{directory / list_name} lists {name!r}, which lies outside {directory}"
            )
        path = require_file(directory / name, f"which {list_name} lists")
        found = file_hash(path)
        if found != wanted:
            raise StoredFileError(
                f"{path} is not the file that {list_name} lists: its SHA-256 is {found[:12]}, "
                f"expected {wanted[:12]}; it was cut short or damaged, so get it again, or changed "
                "on purpose: python -m craft.family.manifest DIRECTORY takes all files as they are"
            )
