"""How long-running work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the name of the task, how much of it is done, and how much there is. The first call
#: precedes the work and says how much is done already, so that clocks start with the work.
OnProgress = Callable[[str, int, int], None]


def ignore_progress(task: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""
