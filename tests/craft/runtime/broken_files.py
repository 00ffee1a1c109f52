"""Damages files as a clone without Git LFS, a full disk or a failed download does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)


def as_pointer(path: Path) -> None:
    """Replace a file with a Git LFS pointer."""
    path.write_text(POINTER)


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    """Empty a file."""
    path.write_bytes(b"")


#: Name -> what happens to a file, and what the error must say about it.
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pointer": (as_pointer, "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    "cut": (cut, "it was cut short or damaged"),
    "empty": (emptied, "is empty"),
    "missing": (Path.unlink, "is missing"),
}
