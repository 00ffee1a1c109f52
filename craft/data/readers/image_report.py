"""A report on decoding many images: all failures at once, and how values of more than eight bits
were mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from craft.data.readers.account import UNREADABLE, Account
from craft.data.readers.faults import Faults
from craft.data.readers.pixel_range import Depth
from craft.data.readers.place import DataError
from craft.data.readers.record import DamagedImage, Record

T = TypeVar("T")

#: A reason in the account.
SEVERAL = "images with several pages or frames, of which only the first is read"


class ImageReport:
    """Collects failures and warnings over many records; :meth:`close` warns, then raises.

    Args:
        account: collects warnings and what is skipped.
        skip: skip missing or damaged images. Other failures, such as an unsupported format or a
            read error, are never skipped.
    """

    def __init__(self, account: Account | None = None, *, skip: bool = False):
        self.account = account or Account()
        #: Number of missing or damaged images among the failures.
        self.damaged = 0
        self._skip = skip
        self._faults = Faults()
        self._deep: list[tuple[Record, Depth]] = []
        self._several: list[tuple[Record, int]] = []

    def image(self, record: Record) -> Image.Image | None:
        """Decode a record's image to RGB; None if that fails."""
        decoded = self.attempt(record.decoded)
        if decoded is None:
            return None
        self.note(record, decoded.depth, decoded.frames)
        return decoded.image

    def note(self, record: Record, depth: Depth | None, frames: int = 1) -> None:
        """Record how an image was decoded elsewhere; arguments as in
        :class:`~craft.data.readers.decoding.Decoded`."""
        if depth is not None:
            self._deep.append((record, depth))
        if frames > 1:
            self._several.append((record, frames))

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return the result of ``read``; None if it raises a DataError, which is kept."""
        try:
            return read()
        except DamagedImage as error:
            if self._skip:
                self.account.skip(UNREADABLE, error.place, error.problem)
            else:
                self.damaged += 1
                self._faults.add(error)
        except DataError as error:
            self._faults.add(error)
        return None

    def close(self) -> Account:
        """Call :meth:`warn` and :meth:`raise_failures`, and return the account."""
        self.warn()
        self.raise_failures()
        return self.account

    def raise_failures(self) -> None:
        """Raise DataError for the images that failed, if any did."""
        self._faults.raise_if_any()

    def warn(self) -> None:
        """Add a warning to the account for each image that may not be read as intended."""
        for record, frames in self._several:
            self.account.warn(SEVERAL, record.place, f"the first of {frames}")
        dark = [found for found in self._deep if _dark(found[1])]
        if dark:
            high = max(depth.high for _, depth in dark)
            hint = _whole_bits(high)
            reason = (
                f"images whose values up to {high:g} come out dark, since "
                f"{dark[0][1].used.white:g} becomes white (--pixel-range 0:{hint} makes {hint} "
                "white)"
            )
            for record, depth in dark:
                self.account.warn(reason, record.place, f"{depth.low:g} to {depth.high:g}")
        for record, depth in self._deep:
            if depth.chosen and depth.clipped:
                self.account.warn(
                    f"images with values beyond the pixel range {depth.used}, which are clipped",
                    record.place,
                    f"{depth.low:g} to {depth.high:g}",
                )

    def ranges(self) -> str | None:
        """Describe how images of more than eight bits were mapped; None if there were none."""
        if not self._deep:
            return None
        low = min(depth.low for _, depth in self._deep)
        high = max(depth.high for _, depth in self._deep)
        used = ", ".join(dict.fromkeys(str(depth.used) for _, depth in self._deep))
        return (
            f"{len(self._deep)} images of more than 8 bits: values {low:g} to {high:g}, mapped "
            f"from {used} (black:white)"
        )


def _dark(depth: Depth) -> bool:
    """Whether an image uses at most a quarter of the range, as 14 of 16 bits do."""
    return not depth.chosen and 4 * depth.high <= depth.used.white


def _whole_bits(high: float) -> str:
    """The largest value with as many bits as ``high``; ``high`` itself if it is a fraction."""
    return f"{high:g}" if high < 1 or high % 1 else f"{2 ** int(high).bit_length() - 1}"
