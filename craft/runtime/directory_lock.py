"""A lock file that lets one process at a time write to a directory, and says which.

``.lock`` holds the process's id, host and start time. On one machine the system's own lock on that
file (flock) decides, and is released when the process ends, however it ends. The content of the
file serves the error message, file systems without flock, and file systems shared by several
machines. On the latter nobody can tell whether a process on another machine still runs, so its lock
stays until it is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from craft.errors import CraftError
from craft.runtime.strict_text import Fault, parse_json

LOCK = ".lock"


class LockedError(CraftError):
    """Another process is writing to the directory."""


@contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Lock a directory for the duration of a block, creating it if necessary.

    The lock of a process that died is taken over.

    Raises:
        LockedError: another process holds the lock; the message names its id, host and start time.
        OSError: the directory is not writable.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCK
    number = _opened(path)
    try:
        owner = {"pid": os.getpid(), "host": platform.node(), "process": _start_of(os.getpid())}
        owner["since"] = time.strftime("%Y-%m-%d %H:%M:%S")
        os.ftruncate(number, 0)
        os.pwrite(number, json.dumps(owner).encode() + b"\n", 0)
        yield
    finally:
        with suppress(FileNotFoundError):  # somebody deleted the lock or the directory
            path.unlink()
        os.close(number)


def require_unlocked(directory: Path) -> None:
    """Raise LockedError if another process holds a directory; nothing is written."""
    path = directory / LOCK
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        _take(path, number, fcntl.LOCK_SH)
    finally:
        os.close(number)


def _opened(path: Path) -> int:
    """Open and lock the lock file, and return its descriptor."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(path, number, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its owner deleted it after we had opened and before we had locked it


def _take(path: Path, number: int, kind: int) -> None:
    held = True
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
        held = False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            held = False  # a file system without flock: the content of the file decides
        elif error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
    owner = _owner(number)
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
    if owner.get("since"):
        who += f" since {owner['since']}"
    if held:
        raise LockedError(
            f"{path.parent} is in use by {who}; wait until it has ended, or choose another "
            "directory"
        )
    if owner and owner.get("host") != platform.node():
        raise LockedError(
            f"{path.parent} is in use by {who}, which cannot be asked from this machine; if it has "
            f"ended, delete {path} and start again"
        )
    if owner and _runs(owner):
        raise LockedError(
            f"{path.parent} is in use by {who}; wait until it has ended, or choose another "
            "directory"
        )


def _owner(number: int) -> dict[str, Any]:
    """Read a lock file; empty if it is incomplete, e.g. because its writer was killed."""
    try:
        found = parse_json(os.pread(number, 4096, 0))
    except Fault:
        return {}
    return found if isinstance(found, dict) else {}


def _runs(owner: dict[str, Any]) -> bool:
    """Whether the process that wrote a lock on this machine still runs (ids are reused)."""
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return _start_of(pid) == owner.get("process")


def _start_of(pid: int) -> str | None:
    """Boot id and start time, which tell a process from a later one with the same id.

    None where there is no /proc.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return f"{boot} {fields.rpartition(')')[2].split()[19]}"
