"""Images of a user's data set, decoded when they are asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from craft.data.images import workers
from craft.data.images.pixels import image_tensor
from craft.data.readers import ImageReport, Record
from craft.data.readers.pixel_range import Depth

log = logging.getLogger(__name__)


class _Seen(NamedTuple):
    """A decoded image at some size, and how its bits were mapped if it had more than eight."""

    pixels: Tensor  # uint8 [3, S, S]
    depth: Depth | None


class RecordStore:
    """Images of records at side ``size``, read and decoded by threads when they are asked for.

    Resampling is Pillow's bicubic with antialiasing, whatever an image's shape was, as
    transformers' SigLIP processor does it; training, evaluation and tokenising share it.

    Args:
        size: what :meth:`pixels` gives where no other size is asked for.
    """

    def __init__(self, records: Sequence[Record], size: int):
        self.records = records
        self.size = size
        self._expected: dict[tuple[int, int], Future[_Seen]] = {}
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self.records)

    def __getstate__(self) -> dict[str, Any]:
        return {"records": self.records, "size": self.size, "_expected": {}, "_told": self._told}

    def pixels(self, rows: Sequence[int], size: int | None = None) -> Tensor:  # uint8 [n, 3, S, S]
        """See :meth:`~craft.data.images.store.ImageStore.pixels`."""
        size = size or self.size
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
                report.note(self.records[row], seen.depth)
        self._close(report)
        return pixels

    def digest(self, row: int) -> str:
        """Of the encoded image. Raises DataError if it cannot be read."""
        return self.records[row].digest()

    def take(self, rows: Sequence[int]) -> RecordStore:
        """See :meth:`~craft.data.images.store.ImageStore.take`."""
        return RecordStore([self.records[row] for row in rows], self.size)

    def expect(self, rows: Sequence[int], size: int | None = None) -> None:
        """See :meth:`~craft.data.images.store.ImageStore.expect`."""
        size = size or self.size
        wanted = {(row, size) for row in rows}
        for key in [key for key in self._expected if key not in wanted]:
            self._expected.pop(key).cancel()
        for row in rows:
            if (row, size) not in self._expected:
                self._expected[row, size] = self._start(row, size)

    def prepare(self, on_images: Callable[[int, int], None] = lambda done, total: None) -> None:
        """See :meth:`~craft.data.images.store.ImageStore.prepare`."""
        inspect_images(self.records, report := ImageReport(), on_images)
        self._close(report)

    def _start(self, row: int, size: int) -> Future[_Seen]:
        return workers.submit(partial(_seen, size=size), self.records[row])

    def _close(self, report: ImageReport) -> None:
        """Raise what failed; log a warning of each kind once."""
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
    """Decode every image once, and keep none; what fails or looks wrong goes to ``report``.

    Their digests are known afterwards without reading a file again.

    Args:
        on_images: called with (images decoded, images).
    """
    found = workers.in_order(_depth, records)
    for done, (record, future) in enumerate(zip(records, found, strict=True), 1):
        report.note(record, report.attempt(future.result))
        on_images(done, len(records))


def digests(records: Sequence[Record]) -> list[str]:
    """Of all images, in order. Raises DataError that names every one that cannot be had."""
    report = ImageReport()
    found = [report.attempt(f.result) for f in workers.in_order(Record.digest, records)]
    report.raise_failures()
    return [digest for digest in found if digest is not None]


def _seen(record: Record, size: int) -> _Seen:
    decoded = record.decoded()
    return _Seen(image_tensor(decoded.image, size), decoded.depth)


def _depth(record: Record) -> Depth | None:
    return record.decoded().depth
