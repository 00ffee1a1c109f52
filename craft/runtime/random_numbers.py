"""Random numbers that leave everybody else's as if none had been drawn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(device: torch.device, seed: int | None = None) -> Generator[None]:
    """Seed torch's generators inside a block, or let them continue, and restore them afterwards.

    These are the generators of the CPU and of ``device``.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
