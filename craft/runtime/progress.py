"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class OnProgress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is.

    The first call comes before the work begins, with what is done already, so that clocks start
    with the work. ``images`` is how many images one of ``total`` stands for, if any.
    """

    def __call__(self, task: str, done: int, total: int, /, *, images: int = 0) -> None: ...


def ignore_progress(task: str, done: int, total: int, *, images: int = 0) -> None:
    """A progress callback that does nothing."""
