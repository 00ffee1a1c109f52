"""Progress of long work, told to whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (what is being done, how much is done, how much there is).
OnProgress = Callable[[str, int, int], None]


def ignore_progress(task: str, done: int, total: int) -> None:
    """The :data:`OnProgress` of those who do not care."""
