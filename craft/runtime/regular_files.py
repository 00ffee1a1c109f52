"""Regular files: those that can be read to an end. A FIFO waits for a writer and a device may never
end, so whoever reads a path that somebody else chose asks here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from craft.runtime.stored_files import StoredFileError, kind_of_special


def require_regular(path: Path | str) -> Path:
    """The path of something that is a regular file, or that is not there.

    Raises:
        StoredFileError: a FIFO, a device, a socket or a folder.
    """
    path = Path(path)
    try:
        kind = kind_of_special(path.stat().st_mode)
    except OSError:
        return path  # whoever opens it says what is wrong
    if kind is not None:
        raise StoredFileError(f"{path} is {kind}; only regular files are read")
    return path


def regular_bytes(path: Path | str, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        most: how many bytes it may have.

    Raises:
        StoredFileError: no regular file, or a larger one.
        OSError: it cannot be opened or read.
    """
    with os.fdopen(os.open(require_regular(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):  # exchanged since
            raise StoredFileError(f"{path} is no regular file; only those are read")
        if most is not None and status.st_size > most:
            raise StoredFileError(f"{path} has {status.st_size:,} bytes, more than {most:,}")
        return file.read()


def regular_text(path: Path | str) -> str:
    """The text of a regular UTF-8 file. Raises as :func:`regular_bytes`, and UnicodeDecodeError."""
    return regular_bytes(path).decode("utf-8")
