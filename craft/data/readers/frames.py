"""Counts the pages or animation frames of a file, of which only the first is read."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image

_SUBFILE_TYPE = 254
_REDUCED_OR_MASK = 1 | 4
#: Counting stops here.
_MOST = 10_000


def frames_of(image: Image.Image, data: bytes) -> int:
    """Count the pages or frames of an image; 1 if the file does not tell.

    Args:
        image: the opened image, not yet transposed or converted.
        data: the content of its file.
    """
    if image.format == "TIFF":
        return _tiff_pages(data)
    if image.format == "GIF":
        return _gif_frames(data)
    count: Any = getattr(image, "n_frames", 1) if image.format in {"PNG", "WEBP", "AVIF"} else 1
    return max(1, count)


def _tiff_pages(data: bytes) -> int:
    """Count the directories of a TIFF file that are neither thumbnails nor masks."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    big = data[2:4] in (b"+\0", b"\0+")
    count_kind, offset_kind, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    count_size, pages, seen = struct.calcsize(count_kind), 0, set()
    try:
        (at,) = struct.unpack_from(order + offset_kind, data, 8 if big else 4)
        while 0 < at < len(data) and at not in seen and len(seen) < _MOST:
            seen.add(at)
            (entries,) = struct.unpack_from(order + count_kind, data, at)
            at += count_size
            if entries > len(data) // entry:
                break
            pages += not _subfile_type(data, at, entries, entry, order) & _REDUCED_OR_MASK
            (at,) = struct.unpack_from(order + offset_kind, data, at + entries * entry)
    except struct.error:
        pass  # damaged after the first page, the only one that is read
    return max(1, pages)


def _subfile_type(data: bytes, at: int, entries: int, size: int, order: str) -> int:
    for first in range(at, at + min(entries, 64) * size, size):  # entries ascend by tag
        tag, _ = struct.unpack_from(order + "HH", data, first)
        if tag == _SUBFILE_TYPE:
            return struct.unpack_from(order + "I", data, first + size - (8 if size == 20 else 4))[0]
        if tag > _SUBFILE_TYPE:
            break
    return 0


def _gif_frames(data: bytes) -> int:
    """Count the image blocks of a GIF file without decoding them."""
    at, frames = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        at += 3 << ((data[10] & 7) + 1)
    while at < len(data) and frames < _MOST:
        block = data[at]
        if block == 0x21:  # an extension
            at += 2
        elif block == 0x2C and at + 9 < len(data):
            frames += 1
            flags = data[at + 9]
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return max(1, frames)
