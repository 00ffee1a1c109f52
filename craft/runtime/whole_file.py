"""Atomic writing of files: each is written under a temporary name, then renamed.

An earlier file stays until the new one is complete, whatever happens to the process or the disk. A
full disk, a read-only folder and the like raise an :class:`OSError` of one sentence that tells
which file, why, how much room it needs and how much there is.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from torch import Tensor

#: Errors for lack of room: a full disk, a quota, a limit on file sizes.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path | str, needs: int | None = None) -> Generator[Path]:
    """Yield a path to write to; after the block the file written there is renamed to ``path``.

    The file gets the mode that the umask gives to new files, whatever wrote it. Missing parent
    folders of ``path`` are created.

    Args:
        needs: bytes that will be written, for the message about a full disk.

    Raises:
        OSError: the file could not be written; ``path`` is unchanged.
    """
    path = Path(path)
    written = path.with_name(f".{path.name}.{os.getpid()}.part")
    with write_errors(path, needs):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        mode = new_file(written)
        try:
            yield written
            written.chmod(mode)
            flush(written)
            os.replace(written, path)
        finally:
            written.unlink(missing_ok=True)


@contextmanager
def open_whole(path: Path | str, newline: str | None = None) -> Generator[TextIO]:
    """Open a UTF-8 text file that is renamed to ``path`` after the block; see whole_file."""
    with whole_file(path) as written, written.open("w", encoding="utf-8", newline=newline) as file:
        yield file


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8; errors as for :func:`whole_file`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content``; errors as for :func:`whole_file`."""
    with whole_file(path, len(content)) as written:
        written.write_bytes(content)


def write_json(path: Path | str, content: Any, indent: int | None = 2) -> None:
    """Write ``content`` as JSON, with a line break at its end; errors as :func:`whole_file`'s."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, the same bytes for the same content; errors as for
    :func:`whole_file`."""
    from safetensors.torch import save_file

    held = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    with whole_file(path, sum(x.nbytes for x in held.values())) as written:
        save_file(held, written, metadata)
        if metadata:
            _sort_metadata(written)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file in place.

    The library writes metadata in the order of a hash table, so that equal content would give
    different files.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:  # never seen: both write JSON without spaces
            raise RuntimeError(f"{path}: a header of {len(text)} bytes in the place of {length}")
        file.seek(8)
        file.write(text.ljust(length))


def remove_unfinished(directory: Path) -> None:
    """Remove temporary files that killed processes left in ``directory``.

    No other process may be writing to it.
    """
    for path in directory.glob(".*.part"):
        if re.fullmatch(r"\..+\.\d+\.part", path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file to the disk, not only to the kernel, before it replaces another."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Its names, as :func:`flush` a file's content."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def new_file(path: Path) -> int:
    """Create an empty file and return its mode, which follows from the umask."""
    path.unlink(missing_ok=True)
    with path.open("xb"):
        return path.stat().st_mode & 0o777


@contextmanager
def write_errors(path: Path, needs: int | None = None) -> Iterator[None]:
    """Turn errors of the system or safetensors while writing ``path`` into WriteError.

    Args:
        needs: bytes that will be written, for the message about a full disk.

    Raises:
        WriteError: in place of an error about ``path``, or about no file in particular.
    """
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number is None or not _is_about(error, path):
            raise
        said = f"{path} could not be written: {os.strerror(number)}"
        if number in _NO_ROOM:
            needed = "" if needs is None else f"it needs {_size(needs)}, "
            said += f"; {needed}{_size(room(path))} are free there; make room and try again"
        raise WriteError(said) from error


class WriteError(OSError):
    """A file could not be written; the message is a whole sentence."""


def room(path: Path) -> int:
    """Free bytes on the disk where ``path`` is or would be."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def require_room(path: Path, needs: int, what: str) -> None:
    """Raise WriteError unless ``needs`` bytes are free where ``path`` is or will be."""
    free = room(path)
    if free < needs:
        raise WriteError(
            f"{what} in {path} needs {_size(needs)}, {_size(free)} are free there; make room or "
            "choose another place"
        )


def _is_about(error: Exception, path: Path) -> bool:
    """Whether an error raised while ``path`` was written can be about it.

    An error that names another file, such as an image read meanwhile, is not.
    """
    named = getattr(error, "filename", None)
    if not isinstance(named, str | os.PathLike):
        return True
    named = Path(named).absolute()
    return named.is_relative_to(path.absolute().parent) or path.absolute().is_relative_to(named)


def _error_number(error: Exception) -> int | None:
    """The errno of an error raised while writing; None for other kinds of errors."""
    if isinstance(error, WriteError):
        return None  # reworded already
    if isinstance(error, OSError):
        return error.errno
    # safetensors has its own exception class, which gives the number only in its text.
    if type(error).__name__ == "SafetensorError":
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else None
    return None


def _size(count: int) -> str:
    return f"{count} bytes" if count < 2**20 else f"{count / 2**20:.1f} MiB"
