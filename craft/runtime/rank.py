"""Which of several processes this one is, before any library is asked."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """The first of those that torchrun starts; a process that runs alone is one."""
    return os.environ.get("RANK", "0") == "0"
