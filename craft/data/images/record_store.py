"""Images of a user's data set, decoded on demand."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from craft.data.images import workers
from craft.data.images.cache import PixelCache, PixelFile, PixelWriter
from craft.data.images.look_ahead import LookAhead
from craft.data.images.store import BATCH
from craft.data.readers import ImageReport, Record
from craft.data.readers.pixel_range import Depth

log = logging.getLogger(__name__)


class _Seen(NamedTuple):
    """A decoded and resampled image; see :class:`~craft.data.readers.decoding.Decoded`."""

    pixels: Tensor  # uint8 [3, S, S]
    depth: Depth | None
    frames: int


class RecordStore:
    """Images of records, read and decoded on demand by threads.

    Images of any shape are squashed with Pillow's antialiased bicubic resampling, as transformers'
    SigLIP processor does; training, evaluation and tokenisation share it.

    Args:
        size: default side of the images that :meth:`pixels` returns.
        cached: a cache file with these images at that size; see :meth:`opened`.
        places: rows of the images in ``cached``.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size: int,
        cached: PixelFile | None = None,
        places: Sequence[int] = (),
    ):
        self.records = records
        self.size = size
        self._cached = cached
        self._places = places
        self._expected: dict[tuple[int, int], Future[_Seen]] = {}
        self._told: set[str] = set()
        self._looking: LookAhead | None = None

    @classmethod
    def opened(cls, records: Sequence[Record], size: int) -> RecordStore:
        """Make a store that reads from the cache, if the same images were prepared before.

        Raises:
            DataError: an image cannot be read.
        """
        store = cls(records, size)
        cache = PixelCache.of_environment()
        if cache is not None:
            store._use(cache)
        return store

    def __len__(self) -> int:
        return len(self.records)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_expected": {}, "_looking": None}

    def pixels(self, rows: Sequence[int], size: int | None = None) -> Tensor:  # uint8 [n, 3, S, S]
        """See :meth:`~craft.data.images.store.ImageStore.pixels`."""
        size = size or self.size
        if self._looking is not None:
            self._await(0)
        if self._cached is not None and size == self.size:
            return self._cached.pixels([self._places[row] for row in rows])
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row, []).append(place)
        futures = {
            row: self._expected.pop((row, size), None) or self._start(row, size) for row in places
        }
        pixels = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
        report = ImageReport()
        for row, future in futures.items():
            seen = report.attempt(future.result)
            if seen is not None:
                pixels[places[row]] = seen.pixels
                report.note(self.records[row], seen.depth, seen.frames)
        self._close(report)
        return pixels

    def digest(self, row: int) -> str:
        """Hash of the encoded image and of how its values are mapped.

        Raises:
            DataError: the image cannot be read.
        """
        record = self.records[row]
        if record.pixel_range is None:
            return record.digest()
        # With another mapping of values, the same file is a different image.
        return f"{record.digest()} {record.pixel_range.black:g}:{record.pixel_range.white:g}"

    def take(self, rows: Sequence[int]) -> RecordStore:
        """See :meth:`~craft.data.images.store.ImageStore.take`."""
        places = () if self._cached is None else [self._places[row] for row in rows]
        records = [self.records[row] for row in rows]
        return RecordStore(records, self.size, self._cached, places)

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """See :meth:`~craft.data.images.store.ImageStore.expect`."""
        size = size or self.size
        if self._cached is not None and size == self.size:
            return
        wanted = {(row, size) for row in rows}
        for key in [key for key in self._expected if key not in wanted]:
            self._expected.pop(key).cancel()
        for row in rows:
            if (row, size) not in self._expected:
                self._expected[row, size] = self._start(row, size)

    def prepare(
        self,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        patience: float | None = None,
    ) -> None:
        """See :meth:`~craft.data.images.store.ImageStore.prepare`; decoded images are kept in the
        cache, if it is enabled and has room."""
        cache = PixelCache.of_environment()
        if self._cached is not None or (cache is not None and self._use(cache)):
            on_images(len(self), len(self))
            return
        if self._looking is None and patience is None:
            if self._look(cache, on_images) and cache is not None:
                self._use(cache)
            return
        if self._looking is None:
            self._looking = LookAhead(partial(self._look, cache), on_images)
        self._await(patience)

    def _await(self, patience: float | None) -> None:
        """Wait for those who look at the images; raises what was wrong with any once all were
        seen."""
        assert self._looking is not None
        looking = self._looking
        if not looking.ended(patience):
            return
        self._looking = None
        cache = PixelCache.of_environment()
        if looking.result() and cache is not None:
            self._use(cache)
        looking.on_images(len(self), len(self))

    def _look(self, cache: PixelCache | None, on_images: Callable[[int, int], None]) -> bool:
        """Look at every image once; whether they are in the cache then."""
        if cache is not None and cache.has_room(len(self), self.size):
            try:
                with cache.making(self.records, self.size) as file:
                    if isinstance(file, PixelWriter):
                        self._fill(file, on_images)
            except OSError as error:
                log.warning("decoded images are not cached: %s", error)
            else:
                return True
        report = ImageReport()
        inspect_images(self.records, report, on_images)
        self._close(report)
        return False

    def _use(self, cache: PixelCache) -> bool:
        """Read from the cache from now on, if it has the images; return whether it does."""
        self._cached = cache.find(self.records, self.size)
        self._places = range(len(self))
        for line in () if self._cached is None else cache.warnings(self._cached):
            log.warning(line)
        return self._cached is not None

    def _fill(self, file: PixelWriter, on_images: Callable[[int, int], None]) -> None:
        """Decode all images that are not in the file yet; once one fails, write no more."""
        report = ImageReport()
        first = file.done
        on_images(first, len(self))
        work = workers.in_order(partial(_seen, size=self.size), self.records[first:])
        whole: list[Tensor] = []
        failed = False
        for row, future in enumerate(work, first):
            seen = report.attempt(future.result)
            failed |= seen is None
            if seen is not None:
                report.note(self.records[row], seen.depth, seen.frames)
                whole.append(seen.pixels)
            if len(whole) == BATCH or row + 1 == len(self):
                if whole and not failed:
                    file.append(torch.stack(whole))
                whole.clear()
            on_images(row + 1, len(self))
        for tally in report.close().summary(0).warnings:
            file.warnings.append(f"{tally.reason}; first {tally.places[0]}")

    def _start(self, row: int, size: int) -> Future[_Seen]:
        return workers.submit(partial(_seen, size=size), self.records[row])

    def _close(self, report: ImageReport) -> None:
        """Raise the failures; log each kind of warning once."""
        for tally in report.close().summary(0).warnings:
            kind = re.sub(r"\d+", "", tally.reason)
            if kind not in self._told:
                self._told.add(kind)
                log.warning("%s; first %s", tally.reason, tally.places[0])


def inspect_images(
    records: Sequence[Record],
    report: ImageReport,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Decode every image once without keeping it; failures and warnings go to ``report``.

    Afterwards the digests are known without reading the files again.

    Args:
        on_images: called with (images decoded, number of images).
    """
    found = workers.in_order(_inspected, records)
    for done, (record, future) in enumerate(zip(records, found, strict=True), 1):
        report.note(record, *(report.attempt(future.result) or (None, 1)))
        on_images(done, len(records))


def squash(image: Image.Image, size: int) -> Image.Image:
    """Resize an image of any shape to ``size`` × ``size`` with antialiased bicubic resampling.

    VILA-U and transformers' SigLIP processor do the same.
    """
    return image.resize((size, size), Image.Resampling.BICUBIC)


def image_tensor(image: Image.Image, size: int) -> Tensor:  # uint8 [3, size, size]
    """Convert an RGB image to a tensor at the encoder's size."""
    return torch.from_numpy(np.array(squash(image, size))).permute(2, 0, 1)


def _seen(record: Record, size: int) -> _Seen:
    decoded = record.decoded()
    return _Seen(image_tensor(decoded.image, size), decoded.depth, decoded.frames)


def _inspected(record: Record) -> tuple[Depth | None, int]:
    _, depth, frames = record.decoded()
    return depth, frames
