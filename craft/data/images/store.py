"""Images that are read when they are needed, a batch at a time, wherever they lie."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from craft.data.images.augment import resize
from craft.data.images.pace import EncodingPace
from craft.runtime.device import pixels_on

#: Images that are decoded, encoded or counted together. Encoders round by the batch they work on,
#: so all commands cut data sets alike.
BATCH = 64


class ImageStore(Protocol):
    """Numbered images that need not be in memory.

    Its two kinds are :class:`TensorStore` and
    :class:`~craft.data.images.record_store.RecordStore`.
    """

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def pixels(
        self, rows: Sequence[int], size: int | None = None
    ) -> Tensor:  # [n, 3, S, S], uint8 or float32 in [0, 1]
        """Images by number, at side ``size``, or at the side that training starts from.

        Raises:
            DataError: an image is missing or corrupt; all such of ``rows`` are named.
        """
        ...

    def digest(self, row: int) -> str:
        """Hash of one image: equal ones have the same."""
        ...

    def take(self, rows: Sequence[int]) -> ImageStore:
        """A store of these images alone, which can be pickled without the others."""
        ...

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """Say which images :meth:`pixels` will be asked for next, so that they are read meanwhile.

        What was expected before and not asked for is dropped.
        """
        ...

    def prepare(self, on_images: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Look at every image once, before something long begins that reads them many times.

        Args:
            on_images: called with (images seen, images).

        Raises:
            DataError: names every image that is missing or corrupt.
        """
        ...


@dataclass(frozen=True)
class TensorStore:
    """Images in memory: uint8, or float32 in [0, 1], [n, 3, S, S]."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, rows: Sequence[int], size: int | None = None) -> Tensor:
        """See :meth:`ImageStore.pixels`; another size makes float32 of uint8."""
        chosen = self.images[list(rows)]
        if size is None or chosen.shape[-2:] == (size, size):
            return chosen
        return resize(pixels_on(chosen, chosen.device), size)

    def digest(self, row: int) -> str:
        """Of the pixels."""
        content = self.images[row].contiguous().view(torch.uint8).cpu().numpy()
        return hashlib.blake2b(content.tobytes(), digest_size=16).hexdigest()

    def take(self, rows: Sequence[int]) -> TensorStore:
        """See :meth:`ImageStore.take`; the pixels are copied, unless ``rows`` is a range."""
        if isinstance(rows, range) and rows.step == 1:
            return TensorStore(self.images[rows.start : rows.stop])
        return TensorStore(self.images[list(rows)])

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays can be pickled without a copy (protocol 5), and of a slice that slice alone.
        return _of_array, (self.images.numpy(),)

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """Does nothing: all images are there."""

    def prepare(self, on_images: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Does nothing: all images are there."""


def _of_array(pixels: np.ndarray) -> TensorStore:
    with warnings.catch_warnings():
        # It may lie in memory that processes share; a store does not write to its pixels.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return TensorStore(torch.from_numpy(pixels))


def shown(images: ImageStore, rows: Sequence[int], size: int) -> Tensor:  # [n, 3, size, size]
    """Images by number as float32 in [0, 1], on the CPU."""
    return pixels_on(images.pixels(rows, size), torch.device("cpu"))


def digests(images: ImageStore) -> list[str]:
    """A hash of each image as it is stored; none is decoded for it.

    Raises:
        DataError: an image cannot be read.
    """
    return [images.digest(row) for row in range(len(images))]


def in_batches(
    images: ImageStore,
    size: int | None = None,
    batch: int = BATCH,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Tensor]:  # each [b, 3, S, S], uint8 or float32 in [0, 1]
    """The images from ``start`` to ``stop`` in order; while one batch is used, the next is read.

    Raises:
        DataError: see :meth:`ImageStore.pixels`.
    """
    stop = len(images) if stop is None else min(stop, len(images))
    yield from each_batch(images, cut(start, stop, batch), size)


def cut(start: int, stop: int, batch: int = BATCH) -> list[range]:
    """The rows from ``start`` to ``stop`` in batches."""
    return [range(first, min(first + batch, stop)) for first in range(start, stop, batch)]


def each_batch(
    images: ImageStore,
    batches: Sequence[range],
    size: int | None = None,
    pace: EncodingPace | None = None,
) -> Iterator[Tensor]:  # each [b, 3, S, S], uint8 or float32 in [0, 1]
    """Images by the batch; while one batch is used, the next is read.

    Args:
        pace: is told how long that took, and how much of it was waiting.

    Raises:
        DataError: see :meth:`ImageStore.pixels`.
    """
    pace = pace or EncodingPace()
    following = [*batches[1:], range(0)][: len(batches)]
    for rows, after in zip(batches, following, strict=True):
        with pace.working(len(rows)):
            with pace.waiting():
                pixels = images.pixels(rows, size)
            images.expect(after, size)
            yield pixels
