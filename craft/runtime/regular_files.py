"""Reading of regular files only.

A FIFO waits for a writer and a device may never end, so paths that come from elsewhere are checked
here before they are read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from craft.runtime.stored_files import StoredFileError, kind_of_special


def require_regular(path: Path | str) -> Path:
    """Return the path of a file that is regular or does not exist.

    Raises:
        StoredFileError: the path is a FIFO, a device, a socket or a folder.
    """
    path = Path(path)
    try:
        kind = kind_of_special(path.stat().st_mode)
    except OSError:
        return path  # opening it will report the error
    if kind is not None:
        raise StoredFileError(f"{path} is {kind}; only regular files are read")
    return path


def regular_bytes(path: Path | str, most: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        most: the largest size allowed, in bytes.

    Raises:
        StoredFileError: the file is not regular, or is larger than ``most``.
        OSError: the file cannot be opened or read.
    """
    with os.fdopen(os.open(require_regular(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):  # replaced since the check
            raise StoredFileError(f"{path} is no regular file; only those are read")
        if most is not None and status.st_size > most:
            raise StoredFileError(f"{path} has {status.st_size:,} bytes, more than {most:,}")
        return file.read()


def regular_text(path: Path | str) -> str:
    """Read a regular UTF-8 file.

    Raises:
        StoredFileError, OSError: as for :func:`regular_bytes`.
        UnicodeDecodeError: the file is not UTF-8.
    """
    return regular_bytes(path).decode("utf-8")
