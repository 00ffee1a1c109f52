"""Damage at random, drawn by a seed: whatever is read must be right, or refused in one line, soon,
and nothing may be written by a refusal, nor ever outside of the folder that it is about.

No test can list what a disk, a download or an editor does to a file; these draw it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from craft.errors import CraftError

#: A few in every run of the suite, many where the time is given.
ROUNDS = pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.fuzz)])
#: A read of a small file, refused or not, must have ended after so many seconds.
LONGEST = 2.0

#: After so many seconds a read is broken off, and fails; after three times as many, the process.
_BROKEN_OFF = 20.0
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Events of Python's that change the disk, each with its paths as the first arguments.
_CHANGES = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2}
_CHANGES |= {"os.symlink": 2, "os.truncate": 1, "os.chmod": 1, "os.utime": 1}

Damage = Callable[[bytes, random.Random], bytes]

_DEEP: Any = 0
for _ in range(400):
    _DEEP = [_DEEP]
_VALUES: list[Any] = [
    *(None, True, False, 0, 3, -1, 10**30, 0.5, -1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "\0", "a\nb", "1", [], [1], ["x"], [[]], {}, {"x": 1}, {"": None}, _DEEP),
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, replaced, cut or doubled; mostly near the start, where headers are."""
    changed = bytearray(flipped(data, rng))
    if rng.random() < 0.25:
        del changed[rng.randrange(1, len(changed)) :]
    if rng.random() < 0.1:
        at = rng.randrange(len(changed))
        changed[at:at] = changed[at : at + 40]
    return bytes(changed)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped or replaced; as many as before."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(len(changed), rng.choice([64, 512, len(changed)])))
        bit = changed[at] ^ (1 << rng.randrange(8))
        changed[at] = rng.choice([0, 255, 127, rng.randrange(32, 127), bit, bit])
    return bytes(changed)


def retyped(data: bytes, rng: random.Random) -> bytes:
    """A JSON text, or one of its lines, with one value replaced by one of another type."""
    lines = data.splitlines()
    try:
        found = json.loads(data)
    except ValueError:
        at = rng.randrange(len(lines))
        lines[at] = retyped(lines[at], rng)
        return b"\n".join(lines) + b"\n"
    root = {"": found}
    holder, key = rng.choice(_holders(root))
    others = [x for x in _VALUES if type(x) is not type(holder[key])]
    holder[key] = rng.choice(others)
    return json.dumps(root[""]).encode()


def _holders(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value that holds a value: the object or list, and the key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += _holders(value[key])
    return found


_changed: list[str] | None = None  # what a read changes on the disk, while one is watched


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit hook, which cannot be taken away again."""
    if _changed is None:
        return
    if event == "open":
        path, _, flags = arguments
        paths = (path,) if isinstance(flags, int) and flags & _WRITING else ()
    elif event in ("os.remove", "os.rmdir") and arguments[1] >= 0:
        paths = ()  # relative to an open folder, as shutil.rmtree does it
    else:
        paths = arguments[: _CHANGES.get(event, 0)]
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.path.abspath(os.fsdecode(path))
            if "__pycache__" not in name and not name.startswith("/dev/"):
                _changed.append(name)


sys.addaudithook(_watch)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"broken off after {_BROKEN_OFF} seconds")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yield what is changed on the disk in the block; one that hangs is broken off."""
    global _changed
    _changed = found = []
    before = signal.signal(signal.SIGALRM, _too_long)
    faulthandler.dump_traceback_later(3 * _BROKEN_OFF, exit=True)
    signal.setitimer(signal.ITIMER_REAL, _BROKEN_OFF)
    try:
        yield found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        _changed = None


def _state(folder: Path | None) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files in a folder, and the folders in it."""
    if folder is None:
        return {}
    return {
        str(path): (0, 0) if path.is_dir() else (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def _timed(
    read: Callable[[bytes], Any], case: bytes, error: Any
) -> tuple[float, str | None, list[str]]:
    """How long a read took, what it said if it refused, and what it changed on the disk."""
    told = None
    with watched() as changed:
        began = time.perf_counter()
        try:
            read(case)
        except error as refusal:
            told = str(refusal)
        took = time.perf_counter() - began
    return took, told, changed


def fuzz(
    data: bytes,
    read: Callable[[bytes], Any],
    error: type[Exception] | tuple[type[Exception], ...],
    rounds: int,
    seed: str,
    damage: Damage = damaged,
    folder: Path | None = None,
    put: Callable[[bytes], bytes] = bytes,
) -> None:
    """Read damaged data again and again.

    Args:
        read: takes the damaged data; asserts what must hold where it does not refuse.
        error: what it may raise, with a message of one line; nothing is changed then.
        folder: the only one in which anything may be changed, where nothing is refused.
        put: puts the damaged data where it is read from.
    """
    rng = random.Random(seed)
    for number in range(rounds):
        case = put(damage(data, rng))
        before = _state(folder)
        took, told, changed = _timed(read, case, error)
        if took > LONGEST:  # on a busy machine; what hangs does so again
            took, told, changed = _timed(read, put(case), error)
        assert took < LONGEST, (number, took)
        if told is not None:
            assert "\n" not in told, (number, told)
            assert _state(folder) == before, (number, told, changed)
        outside = [x for x in changed if folder is None or not Path(x).is_relative_to(folder)]
        assert not outside, (number, outside)


@contextmanager
def in_place(path: Path) -> Iterator[Callable[[bytes], bytes]]:
    """Yield what puts damaged data into a file, past what watches; afterwards it is whole again."""
    whole = path.read_bytes()
    file = os.open(path, os.O_RDWR)

    def put(case: bytes) -> bytes:
        os.ftruncate(file, 0)
        os.pwrite(file, case, 0)
        return case

    try:
        yield put
    finally:
        os.close(file)
        path.write_bytes(whole)


def fuzz_file(
    path: Path,
    read: Callable[[bytes], Any],
    rounds: int,
    damage: Damage = damaged,
    folder: Path | None = None,
) -> None:
    """As :func:`fuzz`, with the damage in a file, which is whole again afterwards.

    Only a CraftError or an OSError may be raised, and its message must name the file or its folder.

    Args:
        read: reads the file; it gets the damaged data too, to tell kinds of damage apart.
        folder: what a read may change something in; by default nothing at all.
    """
    root = folder or path.parent

    def read_case(case: bytes) -> None:
        before = _state(root)
        try:
            read(case)
        except (CraftError, OSError) as error:
            if str(path.parent) not in str(error):
                pytest.fail(f"does not say where: {error!r}")
            raise
        assert folder is not None or _state(root) == before

    with in_place(path) as put:
        seed = f"{path.name} {damage.__name__}"
        errors = (CraftError, OSError)
        fuzz(path.read_bytes(), read_case, errors, rounds, seed, damage, root, put)
