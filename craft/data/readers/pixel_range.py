"""Pixels of more than eight bits: which values become black and white.

Instruments write 12-bit data to 16-bit files. Nothing in such a file tells, and over the full range
of 16 bits the image is almost black. So the range that an image uses is checked, and users can set
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, model_validator

from craft.errors import CraftError

SIXTEEN_BITS = 65535
#: Number of values mapped at a time.
_AT_ONCE = 1 << 17


class PixelRange(BaseModel, extra="forbid", frozen=True):
    """The stored values that become 0 and 255; values beyond are clipped."""

    black: float
    white: float

    @model_validator(mode="after")
    def _ascending(self) -> PixelRange:
        if not (
            math.isfinite(self.black) and math.isfinite(self.white) and self.black < self.white
        ):
            raise ValueError(f"black must lie below white, got {self}")
        return self

    @classmethod
    def parse(cls, text: str) -> PixelRange:
        """Parse a range such as ``0:4095``.

        Raises:
            CraftError: the text is not two numbers, separated by a colon, the first below the
                second.
        """
        black, _, white = text.partition(":")
        try:
            return cls(black=float(black), white=float(white))
        except ValueError:
            raise CraftError(
                f"a pixel range is BLACK:WHITE, the lower value first, such as 0:4095 for 12-bit "
                f"data; got {text!r}"
            ) from None

    def __str__(self) -> str:
        return f"{self.black:g}:{self.white:g}"


@dataclass(frozen=True)
class Depth:
    """How an image of more than eight bits was mapped.

    Args:
        low, high: the smallest and largest stored value.
        used: the range that was mapped to 0 and 255.
        chosen: whether the user set the range; otherwise it is the full range of the format.
    """

    low: float
    high: float
    used: PixelRange
    chosen: bool

    @property
    def clipped(self) -> bool:
        """Whether there are values beyond the range."""
        return self.low < self.used.black or self.high > self.used.white


def eight_bits(
    values: np.ndarray,  # [...] integers or floats
    full: PixelRange,
    chosen: PixelRange | None,
) -> tuple[np.ndarray, Depth]:  # [...] uint8
    """Map stored values linearly to bytes, with rounding.

    Args:
        full: the full range of the format, from black to white.
        chosen: the range that the user set, if any.

    Raises:
        CraftError: values are not finite, or outside ``full`` when no range is set.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CraftError("pixels that are not finite; convert the image to 8 bits")
    used = chosen or full
    if chosen is None and not (low >= full.black and high <= full.white):
        raise CraftError(
            f"pixels must lie in [{full.black:g}, {full.white:g}], they are in [{low:g}, {high:g}]"
            f"; give the values of black and white, such as --pixel-range {low:g}:{high:g}"
        )
    short = values.dtype.kind in "ui" and low >= 0 and high <= SIXTEEN_BITS
    mapped = np.empty(values.shape, np.uint8)
    step = max(1, _AT_ONCE // max(1, values[:1].size))
    for first in range(0, len(values), step):  # a look-up takes 8 bytes per value, floats more
        rows = values[first : first + step]
        table = _table(used.black, used.white) if short else None
        mapped[first : first + step] = (
            _mapped(rows.astype(np.float64), used) if table is None else table[rows]
        )
    return mapped, Depth(low, high, used, chosen is not None)


@lru_cache(maxsize=4)
def _table(black: float, white: float) -> np.ndarray:  # [65536] uint8
    used = PixelRange(black=black, white=white)
    return _mapped(np.arange(SIXTEEN_BITS + 1, dtype=np.float64), used)


def _mapped(values: np.ndarray, used: PixelRange) -> np.ndarray:
    scaled = (values - used.black) * (255 / (used.white - used.black))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
