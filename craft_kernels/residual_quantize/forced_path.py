"""The environment variable CRAFT_KERNELS_PATH, which overrides the choice of a path."""

from __future__ import annotations

import os


def forced_path() -> str | None:
    """`gram`, `streaming`, `fused`, or None where the choice is free. `fused` is the streaming path
    of a GPU in one launch; on the CPU it means `streaming`.

    Raises:
        ValueError: the variable says something else.
    """
    forced = os.environ.get("CRAFT_KERNELS_PATH") or None
    if forced not in (None, "gram", "streaming", "fused"):
        raise ValueError(f"CRAFT_KERNELS_PATH must be gram, streaming or fused, got {forced!r}")
    return forced
