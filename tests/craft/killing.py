"""Processes that die at a chosen call to the disk, for tests of what they leave behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any


def die_at(instant: int, touching: Iterable[tuple[Any, str]]) -> None:
    """Kill this process at the ``instant``-th moment, of those before and after such calls.

    Args:
        touching: functions that touch the disk, as owner and name; they are replaced.
    """
    left = [instant]

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            for moment in ("before", "after"):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                if moment == "before":
                    result = function(*args, **kwargs)
            return result

        return call

    for owner, name in touching:
        setattr(owner, name, counted(getattr(owner, name)))
