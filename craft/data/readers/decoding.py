"""Decoding of all images to upright 8-bit RGB.

Failures of decoders mean that the file is damaged (:mod:`~craft.data.readers.image_header`).
Failures in the steps after decoding, which are implemented here, do not.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from craft.data.readers import image_limits
from craft.data.readers.frames import frames_of
from craft.data.readers.image_header import CorruptImage, UnreadableImage, load, opened, quiet
from craft.data.readers.pixel_range import SIXTEEN_BITS, Depth, PixelRange, eight_bits
from craft.errors import CraftError

__all__ = ["CorruptImage", "Decoded", "UnreadableImage", "decode", "decode_rgb"]

_ORIENTATION, _PHOTOMETRIC, _BITS = 0x0112, 262, 258
_WHITE_IS_ZERO = 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Pillow keeps the high byte of 16-bit colours; with the byte order swapped, it keeps the low one.
_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if struct.pack("=H", 1)[0] else "16L"}
_FLOATS = PixelRange(black=0, white=1)


class Decoded(NamedTuple):
    """An image in RGB, and how it was decoded.

    Args:
        depth: how the values were mapped, if they had more than eight bits.
        frames: number of pages or frames in the file; this image is the first.
    """

    image: Image.Image
    depth: Depth | None
    frames: int = 1


def decode_rgb(data: bytes, pixel_range: PixelRange | None = None) -> Image.Image:
    """Like :func:`decode`, but return only the image."""
    return decode(data, pixel_range).image


def decode(data: bytes, pixel_range: PixelRange | None = None) -> Decoded:
    """Decode the first frame of an image to upright 8-bit RGB.

    EXIF rotation is applied, transparency is composited on white, and more than eight bits are
    mapped to eight.

    Args:
        pixel_range: the values that become black and white in images of more than eight bits; by
            default the full range of the format, 0 to 65535 for 16 bits and 0 to 1 for floats.

    Raises:
        CorruptImage: the data is not an image, or is damaged or truncated.
        UnreadableImage: the format is known but not supported, the data is a Git LFS pointer,
            decoding needs more memory than
            :func:`~craft.data.readers.image_limits.most_bytes`, or the range of values is unknown.
    """
    image = opened(data)
    deep = _deep(image)
    _require_room(image, deep)
    image_limits.drafted(image)
    load(image)
    if deep == "grey":
        rgb, depth = _from_grey(image, pixel_range)
    elif deep == "colour":
        rgb, depth = _from_deep_colour(image, data, pixel_range)
    else:
        rgb, depth = _on_white(image), None
    frames = frames_of(image, data)
    turn = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))
    del image  # frees the memory that transposing needs
    return Decoded(rgb if turn is None else rgb.transpose(turn), depth, frames)


def _require_room(image: Image.Image, deep: str) -> None:
    needed, most = image_limits.bytes_to_decode(image, deep), image_limits.most_bytes()
    if needed > most:
        needed, most = -(-needed >> 20), most >> 20
        raise UnreadableImage(
            f"too large: {image.width}×{image.height} pixels take {needed:,} MiB to decode, the "
            f"limit is {most:,}; scale it down, or set {image_limits.VARIABLE}={needed}"
        )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) where there is none. No other field is read."""
    try:
        with quiet():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # an invalid EXIF block gives no orientation
        return 1
    return int(value) if isinstance(value, int | float) and value in _UPRIGHT else 1


def _deep(image: Image.Image) -> str:
    """Whether pixels have more than eight bits: "grey", "colour" or ""."""
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        return "grey"
    return "colour" if _raw_mode(image)[-3:] in _OTHER_BYTE else ""


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of the pixel layout in the file, such as "RGB;16B"; known until loading."""
    tiles = getattr(image, "tile", ())
    if not tiles or tiles[0].codec_name == "jpeg":
        return ""
    args = tiles[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _from_grey(image: Image.Image, chosen: PixelRange | None) -> tuple[Image.Image, Depth]:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    full = _FLOATS if image.mode == "F" else PixelRange(black=0, white=SIXTEEN_BITS)
    if tags.get(_BITS) == (12,):
        full = PixelRange(black=0, white=4095)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and values.dtype.kind in "ui":
        values = int(full.white) - values.astype(np.int64)
    grey, depth = _bytes_of(values, full, chosen)
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        grey[values == see_through] = 255
    return Image.fromarray(grey).convert("RGB"), depth


def _from_deep_colour(
    image: Image.Image, data: bytes, chosen: PixelRange | None
) -> tuple[Image.Image, Depth]:
    full = PixelRange(black=0, white=SIXTEEN_BITS)
    low_byte = _low_byte(data)
    if low_byte is None:
        rgb = _on_white(image)
        if chosen is not None:
            raise UnreadableImage(
                f"16 bits as {image.mode} of {image.format} cannot be mapped by a pixel range; "
                "convert the image to RGB or grey"
            )
        seen = np.asarray(rgb)
        low, high = 257.0 * seen.min(), 257.0 * seen.max()
        return rgb, Depth(low, high, full, False)
    values = np.asarray(image).astype(np.uint16)  # in place: three such arrays would not fit
    values <<= 8
    values |= np.asarray(low_byte)
    del low_byte
    colours, depth = _bytes_of(values[..., :3], full, chosen)
    see_through = image.info.get("transparency")
    if isinstance(see_through, tuple):
        colours[(values[..., :3] == see_through).all(-1)] = 255
    rgb = Image.fromarray(colours)
    if values.shape[-1] == 4:
        rgb.putalpha(Image.fromarray((values[..., 3] >> 8).astype(np.uint8)))
        del values, colours  # frees the memory that compositing needs
        rgb = _on_white(rgb)
    return rgb, depth


def _low_byte(data: bytes) -> Image.Image | None:
    """Decode the image again for the low byte of every colour; None if Pillow cannot."""
    image = opened(data)
    raw, tiles = _raw_mode(image), tuple(getattr(image, "tile", []))
    if image.mode not in {"RGB", "RGBA"} or raw.startswith("LA") or len(tiles) != 1:
        return None
    tile = tiles[0]
    swapped = raw[:-3] + _OTHER_BYTE[raw[-3:]]
    args = swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])
    image.tile = [tile._replace(args=args)]  # pyright: ignore[reportAttributeAccessIssue]
    load(image)
    return image


def _bytes_of(
    values: np.ndarray, full: PixelRange, chosen: PixelRange | None
) -> tuple[np.ndarray, Depth]:
    try:
        return eight_bits(values, full, chosen)
    except CraftError as error:
        raise UnreadableImage(str(error)) from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
