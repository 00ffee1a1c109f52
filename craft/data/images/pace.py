"""How fast images are encoded, and how much of the time goes by waiting for them to be decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class EncodingPace:
    """Of images that were read and encoded; times add up over all who did so.

    Args:
        images: how many.
        seconds: spent on them.
        waited: of these, seconds in which an encoder had to wait for images.
        hands: how many encoders worked at a time.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    hands: int = 1

    def add(self, other: EncodingPace) -> None:
        """Count images of others too."""
        self.images += other.images
        self.seconds += other.seconds
        self.waited += other.waited

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what encoders must wait for."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    @contextmanager
    def working(self, images: int) -> Iterator[None]:
        """Around all work on so many images."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.images += images

    def __str__(self) -> str:
        rate = self.images * self.hands / self.seconds if self.seconds else 0.0
        shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
        share = self.waited / self.seconds if self.seconds else 0.0
        return f"{shown} images/s, {share:.0%} of the time waiting for images to be decoded"
