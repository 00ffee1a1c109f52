"""A cache of decoded pixels on disk, shared by all processes of a machine.

The cache is the folder ``CRAFT_CACHE``, by default ``craft`` in ``XDG_CACHE_HOME`` or ``~/.cache``;
``CRAFT_CACHE=off`` disables it. A file holds the images of one part of a data set at one size, row
after row. Its name is a hash of the images and of how they are decoded and resampled, so it can
never be out of date. Beyond ``CRAFT_CACHE_LIMIT`` GiB, the least recently used files are deleted to
make room for new ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from craft.data.readers import Record
from craft.errors import CraftError
from craft.runtime.appended_file import AppendedFile
from craft.runtime.whole_file import room, write_text

VARIABLE, LIMIT = "CRAFT_CACHE", "CRAFT_CACHE_LIMIT"
DEFAULT_LIMIT = 20.0
#: What file names depend on besides the images; increase the number when the content changes.
_FORMAT = f"1, bicubic, Pillow {PIL.__version__}"
_WHOLE, _PART, _LOCK, _WARNINGS = ".pixels", ".part", ".lock", ".warnings"
#: Suffix of the files that :mod:`~craft.data.images.known_digests` keeps in the same folder.
DIGESTS = ".digests"
#: Bytes written between two records of how much of an unfinished file is on disk.
_STRIDE = 1 << 26


class PixelFile:
    """A complete file of images: uint8 [count, 3, size, size].

    Rows are read by position, not memory-mapped, so that they do not count as this process's
    memory; the system's page cache keeps them for all processes. A file that is deleted while open
    stays readable.
    """

    def __init__(self, path: Path):
        self.path = path
        _, count, size = path.stem.rsplit("-", 2)
        self.count, self.size = int(count), int(size)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        found, expected = os.fstat(self._file).st_size, self.count * self._row
        if found != expected:
            raise CraftError(
                f"{path} has {found} bytes, expected {expected}: it was changed; delete it, or "
                "clear the cache with `craft data cache --clear`"
            )
        os.utime(path)  # mark as used now

    @property
    def _row(self) -> int:
        return 3 * self.size**2

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path,)

    def pixels(self, rows: Sequence[int]) -> Tensor:  # uint8 [n, 3, size, size]
        """Read images by row number."""
        found = torch.empty(len(rows), 3, self.size, self.size, dtype=torch.uint8)
        into = found.numpy().reshape(len(rows), self._row)
        for place, first, count in _runs(rows):
            data = os.pread(self._file, count * self._row, first * self._row)
            into[place : place + count] = np.frombuffer(data, np.uint8).reshape(count, self._row)
        return found


def _reopened(path: Path) -> PixelFile | None:
    """Unpickle in another process, where the file may no longer exist."""
    return PixelFile(path) if path.is_file() else None


@dataclass(frozen=True)
class CacheEntry:
    """A file of the cache; ``whole`` is false for one that is unfinished or being written."""

    path: Path
    images: int
    size: int
    bytes: int
    used: float
    whole: bool


class PixelCache:
    """A folder of pixel files.

    Args:
        folder: created on the first write.
        limit: total size of all files in bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder = folder
        self.limit = limit

    @classmethod
    def of_environment(cls) -> PixelCache | None:
        """Return the cache that the environment variables define; None if it is disabled.

        Raises:
            CraftError: the limit is not a number of GiB.
        """
        named = os.environ.get(VARIABLE)
        if named == "off":
            return None
        above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(named) if named else Path(above) / "craft"
        given = os.environ.get(LIMIT, str(DEFAULT_LIMIT))
        try:
            limit = float(given)
        except ValueError:
            limit = -1.0
        if not 0 <= limit < float("inf"):
            raise CraftError(f"{LIMIT} must be a number of GiB, at least 0, got {given!r}")
        return cls(folder / "pixels", int(limit * 2**30))

    def find(self, records: Sequence[Record], size: int) -> PixelFile | None:
        """Return the file of these images; None if it does not exist.

        Raises:
            DataError: an image cannot be read.
        """
        path = self._path(records, size)
        try:
            return PixelFile(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def warnings(self, file: PixelFile) -> list[str]:
        """Return the warnings recorded when the images were decoded."""
        path = file.path.with_suffix(_WARNINGS)
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def has_room(self, count: int, size: int) -> bool:
        """Whether the limit and the disk have room for a file of ``count`` images."""
        needs = 3 * count * size**2
        return needs <= self.limit and needs <= room(self.folder)

    @contextmanager
    def making(self, records: Sequence[Record], size: int) -> Iterator[PixelWriter | PixelFile]:
        """Yield a writer for the file of these images, or the file if another process made it.

        One process writes a file while the others wait. A file that a killed process left
        unfinished is continued. The file appears once all rows are written and the block ends
        without an error.

        Raises:
            OSError: the folder is not writable.
        """
        path = self._path(records, size)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            found = self.find(records, size)
            if found is not None:
                yield found
                return
            _tidy(path)
            self._make_room(3 * len(records) * size**2)
            with PixelWriter(path.with_suffix(_PART), 3 * size**2) as writer:
                yield writer
                if writer.done < len(records):
                    return
            if writer.warnings:
                write_text(path.with_suffix(_WARNINGS), "\n".join(writer.warnings) + "\n")
            os.replace(path.with_suffix(_PART), path)
            writer.note.unlink(missing_ok=True)

    def entries(self) -> list[CacheEntry]:
        """List all files, most recently used first."""
        found = []
        for path in self._files():
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process deleted it
                continue
            _, count, size = path.stem.rsplit("-", 2)
            whole = path.suffix == _WHOLE
            entry = CacheEntry(path, int(count), int(size), stat.st_size, stat.st_mtime, whole)
            found.append(entry)
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> int:
        """Delete all files except those being written by other processes; return bytes freed."""
        freed = sum(entry.bytes for entry in self.entries() if _delete(entry.path))
        for path in [*self.folder.glob(f"*{DIGESTS}"), *self.folder.glob(f".*{DIGESTS}.*")]:
            freed += path.stat().st_size
            path.unlink()
        return freed

    def _make_room(self, needs: int) -> None:
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        while entries and total + needs > self.limit:
            entry = entries.pop()
            if _delete(entry.path):
                total -= entry.bytes

    def _files(self) -> Iterable[Path]:
        return [*self.folder.glob(f"[!.]*{_WHOLE}"), *self.folder.glob(f"[!.]*{_PART}")]

    def _path(self, records: Sequence[Record], size: int) -> Path:
        key = hashlib.blake2b(_FORMAT.encode(), digest_size=16)
        for record in records:
            key.update(f"\n{record.digest()} {record.pixel_range}".encode())
        return self.folder / f"{key.hexdigest()}-{len(records)}-{size}{_WHOLE}"


class PixelWriter:
    """An unfinished file: rows are appended, and counted once they are on disk."""

    def __init__(self, path: Path, row: int):
        self.note = path.with_suffix(".rows")
        self.warnings: list[str] = []
        self._row = row
        noted = int(self.note.read_text()) if self.note.is_file() else 0
        self.done = min(noted, path.stat().st_size // row if path.is_file() else 0)
        self._noted = self.done
        self._file = AppendedFile(path, self.done * row)

    def __enter__(self) -> PixelWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
        self._file.close()

    def append(self, pixels: Tensor) -> None:
        """Add rows uint8 [b, 3, size, size]."""
        self._file.append(pixels.contiguous().numpy().reshape(-1).data, sync=False)
        self.done += len(pixels)
        if (self.done - self._noted) * self._row >= _STRIDE:
            self._sync()

    def _sync(self) -> None:
        self._file.sync()
        write_text(self.note, f"{self.done}\n")
        self._noted = self.done


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Group consecutive rows, to be read at once: (index in ``rows``, first row, count)."""
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1:
            yield start, rows[start], place - start
            start = place


def _delete(path: Path) -> bool:
    """Delete a file and what belongs to it; return False if it is being written."""
    try:
        with _locked(path, wait=False):
            for suffix in (path.suffix, ".rows", _WARNINGS, _LOCK):
                path.with_suffix(suffix).unlink(missing_ok=True)
            _tidy(path)
    except BlockingIOError:
        return False
    return True


def _tidy(path: Path) -> None:
    """Delete temporary files left by killed processes."""
    for left in path.parent.glob(f".{path.stem}.*"):
        left.unlink()


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Lock a file; unless ``wait``, raise BlockingIOError if another process holds the lock."""
    name = path.with_suffix(_LOCK)
    while True:
        with name.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Its last holder may have deleted it, and others may lock a new file of that name.
            if name.is_file() and os.path.samestat(os.fstat(lock.fileno()), name.stat()):
                yield
                return


def age(used: float) -> str:
    """Format how long ago a time was, in words."""
    seconds = time.time() - used
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "now"
