"""The environment variable CRAFT_KERNELS_PATH, which overrides the choice of the algorithm."""

from __future__ import annotations

import os


def forced_path() -> str | None:
    """`gram`, `streaming` or `fused` if the variable is set, else None.

    `fused` is a GPU's streaming path in a single launch; on the CPU it means `streaming`.

    Raises:
        ValueError: the variable has any other value.
    """
    forced = os.environ.get("CRAFT_KERNELS_PATH") or None
    if forced not in (None, "gram", "streaming", "fused"):
        raise ValueError(f"CRAFT_KERNELS_PATH must be gram, streaming or fused, got {forced!r}")
    return forced
