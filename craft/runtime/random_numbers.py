"""Random numbers of one's own, after which everybody else's go on as if nothing had been drawn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(device: torch.device, seed: int | None = None) -> Generator[None]:
    """Torch's generators, of the CPU and of ``device``, are seeded anew, or go on from where they
    are; afterwards they are where they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
