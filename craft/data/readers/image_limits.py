"""The limit on the memory that decoding one image takes, estimated from its header.

A file of a few kilobytes can contain an image of many gigabytes. The bytes per pixel below are
measured peaks of the decoders and of the steps that follow here.
"""

from __future__ import annotations

import os
from typing import Any

from PIL import Image, JpegImagePlugin

from craft.errors import CraftError

#: The environment variable that raises or lowers the limit, in MiB.
VARIABLE = "CRAFT_MAX_IMAGE_MIB"
DEFAULT_MIB = 1024
#: JPEG images with more pixels are decoded at a half, a quarter or an eighth of their size.
#: Encoders read far fewer pixels; the number is fixed so that no limit changes any pixel.
DRAFTED_ABOVE = 1 << 26
_MIB = 1 << 20

#: Bytes per pixel, by the processing after decoding.
_PLAIN, _TRANSPARENT, _DEEP_GREY, _DEEP_COLOUR, _DEEP_TRANSPARENT = 8, 20, 14, 20, 28
#: Bytes per pixel that decoders need in addition to their output.
_DECODERS = {"WEBP": 10, "AVIF": 4, "JPEG2000": 12}


def most_bytes() -> int:
    """Return the largest size of an image in bytes, encoded or decoded.

    Raises:
        CraftError: the environment variable is not a whole number above 0.
    """
    said = os.environ.get(VARIABLE, str(DEFAULT_MIB))
    if not (said.isascii() and said.isdigit() and int(said) > 0):
        raise CraftError(f"{VARIABLE} must be a whole number of MiB above 0, got {said!r:.40}")
    return int(said) * _MIB


def bytes_to_decode(image: Image.Image, deep: str) -> int:
    """Estimate the peak memory of decoding to RGB, never far below the actual one.

    Args:
        image: the opened image, not yet loaded.
        deep: "grey" or "colour" for an image of more than eight bits, otherwise "".
    """
    clear = image.has_transparency_data
    pixel = {
        "grey": _DEEP_GREY,
        "colour": _DEEP_TRANSPARENT if clear else _DEEP_COLOUR,
        "": _TRANSPARENT if clear else _PLAIN,
    }[deep]
    pixel += _DECODERS.get(image.format or "", 0)
    pixels = image.width * image.height
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return pixels * pixel
    half = _scale(pixels)
    return -(-pixels // half**2) * pixel + _coefficients(image)


def drafted(image: Image.Image) -> None:
    """Set a very large JPEG to be decoded at a fraction of its size; other images are unchanged."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scale = _scale(image.width * image.height)
        if scale > 1:
            image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))


def _scale(pixels: int) -> int:
    """The smallest reduction of JPEG decoders that leaves at most DRAFTED_ABOVE pixels, or 8."""
    return next((s for s in (1, 2, 4) if pixels <= DRAFTED_ABOVE * s * s), 8)


def _coefficients(image: Any) -> int:
    """Memory for the coefficients of a progressive JPEG, all of which are kept, two bytes each."""
    if not image.info.get("progressive") and not image.info.get("progression"):
        return 0
    layers = getattr(image, "layer", None) or [(1, 1, 1, 0)]
    most = max(h for _, h, _, _ in layers) * max(v for _, _, v, _ in layers)
    sampled = sum(h * v for _, h, v, _ in layers) / max(1, most)
    return int(2 * sampled * image.width * image.height)
