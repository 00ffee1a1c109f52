"""A run's pace for its log: images per second, time left and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from craft.runtime.memory import memory_in_use


class Pace:
    """The pace of a run's steps.

    Args:
        start: the step the run resumes from, or 0.
        steps: the last step.
        batch: images per step, over all processes.
    """

    def __init__(
        self, start: int, steps: int, batch: int, clock: Callable[[], float] = time.monotonic
    ):
        self._left = steps - start
        self._batch = batch
        self._clock = clock
        self._started = clock()
        self._done = 0
        self._in_steps = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step; work between steps, such as validation, counts towards the time left but
        not towards images per second."""
        begun = self._clock()
        yield
        self._in_steps += self._clock() - begun
        self._done += 1

    def numbers(self) -> dict[str, float]:
        """``images_per_second`` and ``seconds_left`` from the steps so far; current ``memory_mib``.

        At least one step must have been timed.
        """
        per_step = (self._clock() - self._started) / self._done
        return {
            "images_per_second": self._batch * self._done / max(self._in_steps, 1e-9),
            "seconds_left": per_step * (self._left - self._done),
            "memory_mib": memory_in_use() / 2**20,
        }
