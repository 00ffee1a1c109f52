"""Images that are read on demand in batches, from memory or from disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from craft.data.images import workers
from craft.data.images.augment import resize
from craft.data.images.pace import EncodingPace
from craft.runtime.device import pixels_on
from craft.runtime.memory import freed_memory

#: Number of images decoded, encoded or counted together. An encoder's rounding depends on the
#: batch, so all commands use the same size.
BATCH = 64


class ImageStore(Protocol):
    """Numbered images that need not be in memory.

    The two implementations are :class:`TensorStore` and
    :class:`~craft.data.images.record_store.RecordStore`.
    """

    def __len__(self) -> int:
        """The number of images."""
        ...

    def pixels(
        self, rows: Sequence[int], size: int | None = None
    ) -> Tensor:  # [n, 3, S, S], uint8 or float32 in [0, 1]
        """Return images by number, at side ``size``, by default the side that training starts from.

        Raises:
            DataError: images are missing or corrupt; the message names all of them.
        """
        ...

    def digest(self, row: int) -> str:
        """Hash an image; equal images have equal hashes."""
        ...

    def take(self, rows: Sequence[int]) -> ImageStore:
        """Return a store of only these images, which is pickled without the others."""
        ...

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """Start to read the images that :meth:`pixels` will be asked for next.

        Images that were expected before but not requested are dropped.
        """
        ...

    def prepare(
        self,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        patience: float | None = None,
    ) -> None:
        """Check every image once, before a long run that reads them many times.

        Args:
            on_images: called with (images checked, number of images).
            patience: seconds after which threads check the remaining images in the background;
                :meth:`pixels` then calls ``on_images``, and raises what the check found. Without
                it, the call returns when all images have been checked.

        Raises:
            DataError: images are missing or corrupt; the message names all of them.
        """
        ...


@dataclass(frozen=True)
class TensorStore:
    """Images in memory: [n, 3, S, S], uint8 or float32 in [0, 1]."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, rows: Sequence[int], size: int | None = None) -> Tensor:
        """See :meth:`ImageStore.pixels`; resizing converts uint8 to float32."""
        chosen = self.images[list(rows)]
        if size is None or chosen.shape[-2:] == (size, size):
            return chosen
        return resize(pixels_on(chosen, chosen.device), size)

    def digest(self, row: int) -> str:
        """Hash the pixels of an image."""
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
        """Do nothing: all images are in memory."""

    def prepare(
        self,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        patience: float | None = None,
    ) -> None:
        """Do nothing: all images are in memory."""


def _of_array(pixels: np.ndarray) -> TensorStore:
    with warnings.catch_warnings():
        # It may lie in memory that processes share; a store does not write to its pixels.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return TensorStore(torch.from_numpy(pixels))


def shown(images: ImageStore, rows: Sequence[int], size: int) -> Tensor:  # [n, 3, size, size]
    """Return images by number as float32 in [0, 1], on the CPU."""
    return pixels_on(images.pixels(rows, size), torch.device("cpu"))


def digests(images: ImageStore) -> list[str]:
    """Hash each image as it is stored, without decoding it; threads read the images.

    Raises:
        DataError: an image cannot be read.
    """
    found = workers.in_order(images.digest, range(len(images)))
    return [digest.result() for digest in found]


def in_batches(
    images: ImageStore,
    size: int | None = None,
    batch: int = BATCH,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Tensor]:  # each [b, 3, S, S], uint8 or float32 in [0, 1]
    """Iterate over images ``start`` to ``stop`` in batches; the next is read in the background.

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
    """Iterate over batches of images; the next is read in the background.

    Args:
        pace: measures how long that takes, and how much of it is waiting.

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
            freed_memory.between_batches()
