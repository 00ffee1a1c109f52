"""The rank of this process, read without importing any library."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this is rank 0 under torchrun, or a process that runs alone."""
    return os.environ.get("RANK", "0") == "0"
