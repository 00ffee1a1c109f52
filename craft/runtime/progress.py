"""The callback through which long-running work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the name of the task, the amount done and the total. The first call comes before any
#: work and tells how much was done earlier, so that timing starts with the work.
OnProgress = Callable[[str, int, int], None]


def ignore_progress(task: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""
