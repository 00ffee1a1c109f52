"""The environment variable CRAFT_KERNELS_PATH, which overrides the choice of a path."""

from __future__ import annotations

import os


def forced_path() -> str | None:
    """`gram`, `streaming`, or None where the choice is free.

    Raises:
        ValueError: the variable says something else.
    """
    forced = os.environ.get("CRAFT_KERNELS_PATH") or None
    if forced not in (None, "gram", "streaming"):
        raise ValueError(f"CRAFT_KERNELS_PATH must be gram or streaming, got {forced!r}")
    return forced
