"""Opening images: raster formats by their signature, and errors that say what a file is instead.

Pillow raises whatever a damaged file makes its decoders stumble over, from ``struct.error`` to
``NotImplementedError``; all of it means that the file is damaged.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, JpegImagePlugin

from craft.data.readers.image_kinds import content_format
from craft.data.readers.libtiff_messages import silence_libtiff
from craft.errors import CraftError
from craft.runtime.stored_files import LFS_POINTER
from craft_kernels.fork_aware_lock import ForkAwareLock

#: None of them starts another program, as PostScript would; formats without a signature (TGA) are
#: left out, because anything may be taken for one.
FORMATS = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF")
_JPEG = b"\xff\xd8\xff"
_TIFF_LOG = logging.getLogger("PIL.TiffImagePlugin")
_headers = ForkAwareLock()  # warnings.catch_warnings changes what all threads see


class UnreadableImage(CraftError):
    """An image that cannot be had as RGB, although it may be sound."""


class CorruptImage(UnreadableImage):
    """Bytes that are no whole image: damaged, cut short, or something else altogether."""


def opened(data: bytes) -> Image.Image:
    """The image with its header read and nothing decoded.

    Raises:
        CorruptImage: no image, or a damaged header.
        UnreadableImage: a known format that is not read, or a Git LFS pointer.
    """
    if not data:
        raise CorruptImage("an empty file")
    try:
        with quiet():
            image = _identified(data)
            if image is not None and image.format == "TIFF":
                silence_libtiff()
                image.getexif()  # turns itself upright, could warn then
    except Exception as error:  # see the module's docstring
        raise CorruptImage(f"cannot be decoded, {_said(error)}") from error
    if image is None:
        raise _not_an_image(data)
    if image.mode == "P" and image.palette is None:
        raise CorruptImage("cannot be decoded: its palette is missing")
    return image


def _identified(data: bytes) -> Image.Image | None:
    """Not by ``Image.open``, whose limit on pixels is one for the whole process, and which takes
    what a camera appends to a JPEG for images (MPO) and fails where that is damaged."""
    file = io.BytesIO(data)
    if data.startswith(_JPEG):
        return JpegImagePlugin.JpegImageFile(file)
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        try:
            if factory is not None and accepts is not None and accepts(data[:16]) is True:
                file.seek(0)
                return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # how a format says that it is another one after all
    return None


def load(image: Image.Image) -> None:
    """Decode the pixels.

    Raises:
        CorruptImage: damaged or cut short.
        UnreadableImage: there is not enough memory.
    """
    try:
        image.load()
    except MemoryError:
        size = f"{image.width}×{image.height}"
        raise UnreadableImage(f"not enough memory to decode {size} pixels") from None
    except Exception as error:  # see the module's docstring
        raise CorruptImage(f"cannot be decoded, {_said(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow's, nor its log's errors; what it tells of is decided here."""
    with _headers, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, _TIFF_LOG.disabled = _TIFF_LOG.disabled, True
        try:
            yield
        finally:
            _TIFF_LOG.disabled = before


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
