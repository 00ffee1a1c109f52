"""Freed memory stays in the process on glibc; elsewhere nothing changes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from craft.runtime import memory

# In a process of its own: the options last as long as the process.
FAULTS_OF_A_SECOND_BLOCK = """
from resource import RUSAGE_SELF, getrusage
from craft.runtime.memory import keep_freed_memory
keep_freed_memory()
block = bytearray(b"x") * (64 << 20)
del block
before = getrusage(RUSAGE_SELF).ru_minflt
block = bytearray(b"x") * (64 << 20)
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
def test_a_freed_block_is_used_again_without_page_faults() -> None:
    command = [sys.executable, "-c", FAULTS_OF_A_SECOND_BLOCK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # of the block's 16384 pages


# Large blocks of changing sizes, and small ones that stay and come to lie in their gaps.
HELD_AFTER_BATCHES = """
import random, sys
from craft.runtime import memory
memory.keep_freed_memory()
memory.SLACK = 16 << 20
rng, kept = random.Random(0), []
before = memory._anonymous()
most = 0
for batch in range(300):
    blocks = []
    for _ in range(8):
        blocks.append(bytearray(b"x") * rng.randrange(1 << 20, 8 << 20))
        kept.append(bytearray(b"x") * 200_000)
        if len(blocks) > 3:
            del blocks[rng.randrange(3)]
    most = max(most, memory._anonymous())
    del blocks
    if sys.argv[1] == "give back":
        memory.freed_memory.between_batches()
print(most - before - sum(map(len, kept)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    held = {}
    for what in ("give back", "keep"):
        command = [sys.executable, "-c", HELD_AFTER_BATCHES, what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        held[what] = int(done.stdout)
    assert held["give back"] < 4 * (8 << 20) + (16 << 20)  # in use at a time, and what is kept
    assert held["keep"] > 1.4 * held["give back"]


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    memory.keep_freed_memory()
    memory.FreedMemory().between_batches()


def test_memory_in_use_follows_what_is_taken_and_freed() -> None:
    code = """
from craft.runtime.memory import memory_in_use
before = memory_in_use()
block = bytearray(b"x") * (64 << 20)
print(memory_in_use() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 60 << 20 < int(done.stdout) < 100 << 20
