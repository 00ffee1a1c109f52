"""How much memory decoding one image may take, told by its header before anything is decoded.

A file of a few kilobytes can hold an image of many gigabytes. The bytes per pixel below are peaks
that were measured, of the decoder and of what follows it here.
"""

from __future__ import annotations

import os
from typing import Any

from PIL import Image, JpegImagePlugin

from craft.errors import CraftError

#: The environment variable that raises or lowers the limit, in MiB.
VARIABLE = "CRAFT_MAX_IMAGE_MIB"
DEFAULT_MIB = 1024
#: JPEG images of more pixels are decoded at a half, a quarter or an eighth of their size. The
#: encoder reads far fewer; the number is fixed so that no limit changes any pixel.
DRAFTED_ABOVE = 1 << 26
_MIB = 1 << 20

#: Bytes per pixel, by what has to be done after decoding.
_PLAIN, _TRANSPARENT, _DEEP_GREY, _DEEP_COLOUR, _DEEP_TRANSPARENT = 8, 20, 14, 20, 28
#: What decoders take beside the image that they give.
_DECODERS = {"WEBP": 10, "AVIF": 4, "JPEG2000": 12}


def most_bytes() -> int:
    """What one image may take, encoded or decoded.

    Raises:
        CraftError: the environment variable is no whole number above 0.
    """
    said = os.environ.get(VARIABLE, str(DEFAULT_MIB))
    if not (said.isascii() and said.isdigit() and int(said) > 0):
        raise CraftError(f"{VARIABLE} must be a whole number of MiB above 0, got {said!r:.40}")
    return int(said) * _MIB


def bytes_to_decode(image: Image.Image, deep: str) -> int:
    """An estimate, never far below the truth, of what decoding to RGB takes at its peak.

    Args:
        image: opened, not yet loaded.
        deep: as of :func:`~craft.data.readers.decoding.decode`, whether it has more than eight
            bits: "grey", "colour" or "".
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
    """Let a very large JPEG be decoded at a fraction of its size; others are left as they are."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scale = _scale(image.width * image.height)
        if scale > 1:
            image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))


def _scale(pixels: int) -> int:
    """The least of the scales that JPEG decoders have which leaves few enough pixels."""
    return next((s for s in (1, 2, 4) if pixels <= DRAFTED_ABOVE * s * s), 8)


def _coefficients(image: Any) -> int:
    """What a progressive JPEG keeps until it is whole: all coefficients, two bytes each."""
    if not image.info.get("progressive") and not image.info.get("progression"):
        return 0
    layers = getattr(image, "layer", None) or [(1, 1, 1, 0)]
    most = max(h for _, h, _, _ in layers) * max(v for _, _, v, _ in layers)
    sampled = sum(h * v for _, h, v, _ in layers) / max(1, most)
    return int(2 * sampled * image.width * image.height)
