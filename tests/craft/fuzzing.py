"""Damage at random, drawn by a seed: whatever is read must be right, or refused in one line, soon.

No test can list what a disk, a download or an editor does to a file; these draw it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from craft.errors import CraftError

#: A few in every run of the suite, many where the time is given.
ROUNDS = pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.fuzz)])
#: A read of a small file, refused or not, must have ended after so many seconds.
LONGEST = 2.0

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


def fuzz(
    data: bytes,
    read: Callable[[bytes], Any],
    error: type[Exception] | tuple[type[Exception], ...],
    rounds: int,
    seed: str,
    damage: Damage = damaged,
) -> None:
    """Read damaged data again and again.

    Args:
        read: takes the damaged data; asserts what must hold where it does not refuse.
        error: what it may raise, with a message of one line.
    """
    rng = random.Random(seed)
    for number in range(rounds):
        case = damage(data, rng)
        began, told = time.perf_counter(), ""
        try:
            read(case)
        except error as refusal:
            told = str(refusal)
        assert "\n" not in told, (number, told)
        assert time.perf_counter() - began < LONGEST, number


def fuzz_file(
    path: Path, read: Callable[[bytes], Any], rounds: int, damage: Damage = damaged
) -> None:
    """As :func:`fuzz`, with the damage in a file, which is whole again afterwards.

    Only a CraftError or an OSError may be raised, and its message must name the file or its folder.

    Args:
        read: reads the file; it gets the damaged data too, to tell kinds of damage apart.
    """
    whole = path.read_bytes()

    def read_case(case: bytes) -> None:
        path.write_bytes(case)
        try:
            read(case)
        except (CraftError, OSError) as error:
            if str(path.parent) not in str(error):
                pytest.fail(f"does not say where: {error!r}")
            raise

    try:
        seed = f"{path.name} {damage.__name__}"
        fuzz(whole, read_case, (CraftError, OSError), rounds, seed, damage)
    finally:
        path.write_bytes(whole)
