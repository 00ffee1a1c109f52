"""Images that are read when they are needed, a batch at a time, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from craft.data.images import workers
from craft.data.images.augment import resize
from craft.runtime.device import pixels_on
from craft.runtime.memory import freed_memory

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

    def prepare(
        self,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        patience: float | None = None,
    ) -> None:
        """Look at every image once, before something long begins that reads them many times.

        Args:
            on_images: called with (images seen, images).
            patience: seconds after which threads look at the rest meanwhile; then :meth:`pixels`
                raises what they find, and calls ``on_images``. Without, it ends when all were seen.

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
        """See :meth:`ImageStore.take`; the pixels are copied."""
        return TensorStore(self.images[list(rows)])

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """Does nothing: all images are there."""

    def prepare(
        self,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        patience: float | None = None,
    ) -> None:
        """Does nothing: all images are there."""


def shown(images: ImageStore, rows: Sequence[int], size: int) -> Tensor:  # [n, 3, size, size]
    """Images by number as float32 in [0, 1], on the CPU."""
    return pixels_on(images.pixels(rows, size), torch.device("cpu"))


def digests(images: ImageStore) -> list[str]:
    """A hash of each image as it is stored; threads read those that are not known yet, and none
    is decoded for it.

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
    """The images from ``start`` to ``stop`` in order; while one batch is used, the next is read.

    Raises:
        DataError: see :meth:`ImageStore.pixels`.
    """
    stop = len(images) if stop is None else min(stop, len(images))
    for first in range(start, stop, batch):
        end = min(first + batch, stop)
        pixels = images.pixels(range(first, end), size)
        images.expect(range(end, min(end + batch, stop)), size)
        yield pixels
        freed_memory.between_batches()
