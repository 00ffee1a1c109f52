"""Directories that are there in whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from craft.errors import CraftError


@contextmanager
def written_whole(out: Path, needed: int) -> Iterator[Path]:
    """A directory beside ``out`` to write to. It becomes ``out`` at the end, or goes away.

    Args:
        out: must not exist.
        needed: how many bytes will be written, about.

    Raises:
        CraftError: ``out`` exists, or its disk has no room for ``needed`` bytes.
    """
    if out.exists():
        raise CraftError(f"{out} exists; name a new directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise CraftError(
            f"{out} needs {needed / 2**30:.2f} GiB, {out.resolve().parent} has "
            f"{free / 2**30:.2f} GiB free; make room, or name a directory on another disk"
        )
    unfinished = out.with_name(f".unfinished-{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(out)
    except BaseException:  # also when the user interrupts
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
