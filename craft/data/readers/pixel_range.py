"""Pixels of more than eight bits: which of their values becomes black, which becomes white.

Instruments write 12 bits of data into 16-bit files. Nothing in such a file says so, and taken over
the whole range of 16 bits it is black; so the range that an image uses is noticed here, and can be
named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, model_validator

from craft.errors import CraftError

SIXTEEN_BITS = 65535
#: So many values are mapped at a time.
_AT_ONCE = 1 << 17


class PixelRange(BaseModel, extra="forbid", frozen=True):
    """The stored values that become 0 and 255; those beyond are clipped to them."""

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
        """The range that a text such as ``0:4095`` names.

        Raises:
            CraftError: not two numbers with a colon between, the first one below the second.
        """
        black, _, white = text.partition(":")
        try:
            return cls(black=float(black), white=float(white))
        except ValueError:
            raise CraftError(
                f"a pixel range is BLACK:WHITE, the lower one first, such as 0:4095 for 12-bit "
                f"data; got {text!r}"
            ) from None

    def __str__(self) -> str:
        return f"{self.black:g}:{self.white:g}"


@dataclass(frozen=True)
class Depth:
    """How an image of more than eight bits was mapped.

    Args:
        low, high: its darkest and brightest stored value.
        used: the range that it was mapped by.
        chosen: the user named that range; otherwise it is all that the format can hold.
    """

    low: float
    high: float
    used: PixelRange
    chosen: bool

    @property
    def clipped(self) -> bool:
        """Whether values lie beyond the range."""
        return self.low < self.used.black or self.high > self.used.white


def eight_bits(
    values: np.ndarray,  # [...] integers or floats
    full: PixelRange,
    chosen: PixelRange | None,
) -> tuple[np.ndarray, Depth]:  # [...] uint8
    """Stored values as bytes, mapped in a straight line and rounded.

    Args:
        full: what the format can hold, from black to white.
        chosen: the range that the user named, if any.

    Raises:
        CraftError: values that are not finite, or outside of ``full`` where no range was named.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CraftError("pixels that are not finite; convert the image to 8 bits")
    used = chosen or full
    if chosen is None and not (low >= full.black and high <= full.white):
        raise CraftError(
            f"pixels must lie in [{full.black:g}, {full.white:g}], they are in [{low:g}, {high:g}]"
            f"; name the values that are black and white, such as --pixel-range {low:g}:{high:g}"
        )
    short = values.dtype.kind in "ui" and low >= 0 and high <= SIXTEEN_BITS
    mapped = np.empty(values.shape, np.uint8)
    step = max(1, _AT_ONCE // max(1, values[:1].size))
    for first in range(0, len(values), step):  # looking up takes eight bytes a value, floats more
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
