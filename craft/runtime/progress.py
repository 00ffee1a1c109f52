"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is being done, how much of it is done, and how much there is. The first call
#: comes before the work begins, with what is done already, so that clocks start with the work.
OnProgress = Callable[[str, int, int], None]


def ignore_progress(task: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""
