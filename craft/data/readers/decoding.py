"""One way to decode every image: by formats named here, to upright 8-bit RGB, or an error.

Pillow raises whatever a damaged file makes its decoders stumble over, from ``struct.error`` to
``NotImplementedError``; all of it means that the file is damaged. What comes after decoding is our
own work, and its failures are not taken for the file's.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from craft.data.readers.image_kinds import content_format
from craft.data.readers.pixel_range import SIXTEEN_BITS, Depth, PixelRange, eight_bits
from craft.errors import CraftError
from craft.runtime.stored_files import LFS_POINTER
from craft_kernels.fork_aware_lock import ForkAwareLock

#: Raster formats by their signature. None of them starts another program, as PostScript would;
#: formats without a signature (TGA) are left out, because anything may be taken for one.
FORMATS = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF")
_JPEG = b"\xff\xd8\xff"
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
#: Pillow keeps the upper byte of colours of 16 bits; read in the other byte order, the lower one.
_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if struct.pack("=H", 1)[0] else "16L"}
_FLOATS = PixelRange(black=0, white=1)
_headers = ForkAwareLock()  # warnings.catch_warnings changes what all threads see


class UnreadableImage(CraftError):
    """An image that cannot be had as RGB, although it may be sound."""


class CorruptImage(UnreadableImage):
    """Bytes that are no whole image: damaged, cut short, or something else altogether."""


class Decoded(NamedTuple):
    """An image in RGB and, where it had more than eight bits, how those were mapped."""

    image: Image.Image
    depth: Depth | None


def decode_rgb(data: bytes, pixel_range: PixelRange | None = None) -> Image.Image:
    """The image alone; see :func:`decode`."""
    return decode(data, pixel_range).image


def decode(data: bytes, pixel_range: PixelRange | None = None) -> Decoded:
    """Decode to upright 8-bit RGB: EXIF rotation applied, transparency put on white, more than
    eight bits mapped to eight, the first frame of an animation.

    Args:
        pixel_range: the values of more than eight bits that become black and white; by default all
            that the format can hold, 0 to 65535 for 16 bits and 0 to 1 for floats.

    Raises:
        CorruptImage: no image, damaged or cut short.
        UnreadableImage: a known format that is not read, a Git LFS pointer, too large to be
            harmless, or values without a known range.
    """
    image = _opened(data)
    deep = _deep(image)
    _load(image)
    if deep == "grey":
        rgb, depth = _from_grey(image, pixel_range)
    elif deep == "colour":
        rgb, depth = _from_deep_colour(image, data, pixel_range)
    else:
        rgb, depth = _on_white(image), None
    turn = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))
    return Decoded(rgb if turn is None else rgb.transpose(turn), depth)


def _opened(data: bytes) -> Image.Image:
    """The image with its header read."""
    if not data:
        raise CorruptImage("an empty file")
    try:
        with _headers, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = io.BytesIO(data)
            # Not by Image.open: it takes what a camera appends to a JPEG for images (MPO), and
            # fails where that is damaged, although the picture is whole.
            image = (
                JpegImagePlugin.JpegImageFile(file)
                if data.startswith(_JPEG)
                else Image.open(file, formats=FORMATS)
            )
            if image.format == "TIFF":  # which turns itself upright, and could warn then
                image.getexif()
    except Image.UnidentifiedImageError:
        raise _not_an_image(data) from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too large: {error}") from error
    except Exception as error:  # see the module's docstring
        raise CorruptImage(f"cannot be decoded, {_said(error)}") from error
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise UnreadableImage(
            f"too large: {image.width}×{image.height} exceeds limit of {most:,} pixels; "
            "scale it down"
        )
    return image


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except MemoryError:
        size = f"{image.width}×{image.height}"
        raise UnreadableImage(f"not enough memory to decode {size} pixels") from None
    except Exception as error:  # see the module's docstring
        raise CorruptImage(f"cannot be decoded, {_said(error)}") from error


def _not_an_image(data: bytes) -> UnreadableImage:
    if data.startswith(LFS_POINTER):
        return UnreadableImage("is a Git LFS pointer, not the image itself: run `git lfs pull`")
    known = content_format(data)
    if known is not None:
        return UnreadableImage(f"is {known}, which is not read; convert it to PNG or JPEG")
    if data[4:12] == b"ftypavif":
        return UnreadableImage("is AVIF, which this Pillow was built without; update Pillow")
    start = data[:8].hex(" ")
    return CorruptImage(f"not an image: {len(data)} bytes that start {start}")


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none. No other field is looked at."""
    try:
        with _headers, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # what is no EXIF block tells no orientation either
        return 1
    return int(value) if isinstance(value, int | float) and value in _UPRIGHT else 1


def _deep(image: Image.Image) -> str:
    """Whether pixels have more than eight bits: "grey", "colour" or ""."""
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        return "grey"
    return "colour" if _raw_mode(image)[-3:] in _OTHER_BYTE else ""


def _raw_mode(image: Image.Image) -> str:
    """How Pillow says that the pixels lie in the file, such as "RGB;16B"; until it is loaded."""
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
    values = (np.asarray(image).astype(np.uint16) << 8) | np.asarray(low_byte)
    colours, depth = _bytes_of(values[..., :3], full, chosen)
    see_through = image.info.get("transparency")
    if isinstance(see_through, tuple):
        colours[(values[..., :3] == see_through).all(-1)] = 255
    rgb = Image.fromarray(colours)
    if values.shape[-1] == 4:
        rgb.putalpha(Image.fromarray((values[..., 3] >> 8).astype(np.uint8)))
        rgb = _on_white(rgb)
    return rgb, depth


def _low_byte(data: bytes) -> Image.Image | None:
    """The image again with the lower byte of every colour; None where Pillow cannot read it so."""
    image = _opened(data)
    raw, tiles = _raw_mode(image), tuple(getattr(image, "tile", []))
    if image.mode not in {"RGB", "RGBA"} or raw.startswith("LA") or len(tiles) != 1:
        return None
    tile = tiles[0]
    swapped = raw[:-3] + _OTHER_BYTE[raw[-3:]]
    args = swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])
    image.tile = [tile._replace(args=args)]  # pyright: ignore[reportAttributeAccessIssue]
    _load(image)
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
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
