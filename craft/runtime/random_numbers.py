"""Random numbers that do not disturb the global random state."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(device: torch.device, seed: int | None = None) -> Generator[None]:
    """Restore the generators of the CPU and ``device`` after a block.

    Args:
        seed: seeds both generators at the start of the block; None leaves their state as it is.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
