"""A data set's images looked at by threads, while others use them already."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial

from craft.data.images import workers

#: Seconds between two reports of who waits.
_BEAT = 0.5


class LookAhead:
    """A look at every image, which goes on while others use them.

    Args:
        look: is given what to call with (images seen, images).
        on_images: called with the same, by who waits.
    """

    def __init__(
        self,
        look: Callable[[Callable[[int, int], None]], bool],
        on_images: Callable[[int, int], None],
    ):
        self.on_images = on_images
        self._seen: tuple[int, int] | None = None
        self._future = workers.meanwhile(partial(look, self._note))

    def _note(self, done: int, total: int) -> None:
        self._seen = done, total

    def ended(self, patience: float | None) -> bool:
        """Whether it ended within so many seconds."""
        end = None if patience is None else time.monotonic() + patience
        while True:
            left = _BEAT if end is None else max(0.0, min(_BEAT, end - time.monotonic()))
            if wait([self._future], left).done:
                return True
            if self._seen is not None:
                self.on_images(*self._seen)
            if end is not None and time.monotonic() >= end:
                return False

    def result(self) -> bool:
        """Whether the images are in the cache now; raises what was wrong with them."""
        return self._future.result()
