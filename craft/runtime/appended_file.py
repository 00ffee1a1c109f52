"""Files that grow by whole pieces: a log, answers as they come, what was paid for.

A piece is in the file whole or not at all, as far as the process lives to see to it; one that it
did not live to finish stands last, and is cut off when the file is opened again. So whatever
happens, nothing that was written before is lost.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from craft.runtime.whole_file import write_errors

log = logging.getLogger(__name__)


class AppendedFile:
    """A file to append to; made if it is missing. One process at a time may hold it.

    Args:
        path: of the file; its folder must be there.
        keep: how many bytes of what is there are whole; the rest is cut off. By default all of it.

    Raises:
        OSError: it cannot be opened or cut; names the file.
    """

    def __init__(self, path: Path, keep: int | None = None):
        self.path = path
        with write_errors(path):
            self._file = path.open("ab", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size
            if keep is not None and keep < self._size:
                self.cut(keep)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def fileno(self) -> int:
        """The system's number of the open file, for a lock on it."""
        return self._file.fileno()

    def append(self, piece: bytes | memoryview, *, sync: bool = True) -> None:
        """Add a piece at the end.

        Args:
            piece: bytes, or a view of them of one dimension.
            sync: whether it must be on the disk, and not only with the system, on return.

        Raises:
            OSError: it could not be written; names the file, how much room the piece needs and how
                much there is. The file holds what it held before.
        """
        with write_errors(self.path, len(piece)):
            try:
                left = memoryview(piece)
                while left:
                    left = left[self._file.write(left) :]
                if sync:
                    os.fsync(self._file.fileno())
            except BaseException:
                self.cut(self._size)
                raise
        self._size += len(piece)

    def cut(self, size: int) -> None:
        """Keep so many bytes, and no more."""
        self._file.truncate(size)
        self._size = size

    def sync(self) -> None:
        """Bring all that was appended to the disk. Raises OSError, which names the file."""
        with write_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> AppendedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end in a line feed, without it; of a file that is missing, none.

    A last line without one was not written to its end. It is no error, but it is told.
    """
    if not path.is_file():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        tell_torn(path, f"line {len(lines) + 1} is")
    return lines


def tell_torn(path: Path, what: str) -> None:
    """Log that the end of a file is left out, since a process died while it wrote it.

    Args:
        what: with its verb, such as "line 3 is".
    """
    log.warning(
        "%s: %s cut short, as by a process that died while it wrote; it is left out, and all "
        "before it is kept",
        path,
        what,
    )
