"""Encoded images wherever they lie, and one way to decode them all to upright RGB."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from craft.errors import CraftError

#: File names that end so are images; those that Pillow reads without further libraries.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
_SIXTEEN_BITS = 65535


class UnreadableImage(CraftError):
    """Bytes that are no whole image."""


class EncodedImage(Protocol):
    """An image as it lies on disk; ``str`` says where."""

    def read(self) -> bytes:
        """The encoded bytes. Raises OSError when they cannot be had."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()

    def __str__(self) -> str:
        return str(self.path)


def is_image_name(name: str) -> bool:
    """Whether a file name's suffix is that of an image."""
    return Path(name).suffix.lower() in SUFFIXES


def decode_rgb(data: bytes) -> Image.Image:
    """Decode to upright 8-bit RGB: EXIF rotation applied, transparency put on white, 16-bit grey
    scaled over its whole range, the first frame of an animation.

    Raises:
        UnreadableImage: no image, cut short, too large to be harmless, or grey values without a
            known range (32-bit integers above 65535, floats outside [0, 1]).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        start = data[:8].hex(" ") or "nothing"
        raise UnreadableImage(f"not an image: {len(data)} bytes that start {start}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(str(error)) from error
    except (OSError, SyntaxError, EOFError) as error:  # what Pillow raises on damaged files
        raise UnreadableImage(f"cannot be decoded, {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow would clip such values at 255, which turns a dark scan white."""
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    top = 1.0 if image.mode == "F" else _SIXTEEN_BITS
    if not (low >= 0 and high <= top):
        raise UnreadableImage(
            f"pixels of mode {image.mode!r} must lie in [0, {top:g}], they are in "
            f"[{low:g}, {high:g}]; convert the image to 8 bits"
        )
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))
