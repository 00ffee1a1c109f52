"""Files that a user brings, as opposed to the Git LFS pointers that stand for them."""

from __future__ import annotations

from pathlib import Path

from craft.errors import CraftError

#: The beginning of the text that Git LFS leaves where a file was not fetched.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class StoredFileError(CraftError):
    """A file is missing, damaged, cut short, or not what its name says."""


def is_lfs_pointer(path: Path | str) -> bool:
    """Whether a file is the text that Git LFS leaves where the file itself was not fetched."""
    with Path(path).open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def require_file(path: Path | str, what: str) -> Path:
    """The path of a file that has content of its own.

    Args:
        what: what the file is, for the message, such as "the encoder's weights".

    Raises:
        StoredFileError: no such file, an empty one, or a Git LFS pointer.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is not a file" if path.exists() else "is missing"
        raise StoredFileError(f"{path}, {what}, {kind}")
    if path.stat().st_size == 0:
        raise StoredFileError(f"{path}, {what}, is empty; get the file again")
    if is_lfs_pointer(path):
        raise StoredFileError(
            f"{path}, {what}, is a Git LFS pointer, not the file itself: run `git lfs pull` in the "
            "repository it came from"
        )
    return path
