"""Opening images: raster formats by their signature, with errors that say what else a file is.

On damaged files Pillow's decoders raise all kinds of exceptions, from ``struct.error`` to
``NotImplementedError``; each of them means that the file is damaged.
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

#: None of these starts another program, as PostScript would. Formats without a signature (TGA) are
#: excluded, since any file could be mistaken for one.
FORMATS = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF")
_JPEG = b"\xff\xd8\xff"
_TIFF_LOG = logging.getLogger("PIL.TiffImagePlugin")
_headers = ForkAwareLock()  # warnings.catch_warnings affects all threads


class UnreadableImage(CraftError):
    """An image that cannot be converted to RGB, although it may be intact."""


class CorruptImage(UnreadableImage):
    """Data that is not a complete image: damaged, truncated, or not an image at all."""


def opened(data: bytes) -> Image.Image:
    """Open an image and read its header, without decoding pixels.

    Raises:
        CorruptImage: the data is not an image, or its header is damaged.
        UnreadableImage: the format is not supported, or the data is a Git LFS pointer.
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
    """Identify the format and open the image.

    ``Image.open`` is not used: its limit on pixels applies to the whole process, and it reads data
    that cameras append to a JPEG as further images (MPO), which fails if that data is damaged.
    """
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
            continue  # the signature fits, but it is another format
    return None


def load(image: Image.Image) -> None:
    """Decode the pixels.

    Raises:
        CorruptImage: the image is damaged or truncated.
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
    """Suppress Pillow's warnings and logged errors; what is wrong is decided here."""
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
        return UnreadableImage(f"is {known}, which is not supported; convert it to PNG or JPEG")
    if data[4:12] == b"ftypavif":
        return UnreadableImage("is AVIF, which this build of Pillow lacks; update Pillow")
    start = data[:8].hex(" ")
    return CorruptImage(f"not an image: {len(data)} bytes that start {start}")


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"
