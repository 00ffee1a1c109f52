"""Decoding records into one tensor, at the encoder's size."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from craft.data.readers import ImageReport, Record

#: Beyond this many bytes the pixels lie in an unnamed temporary file instead of in memory.
IN_MEMORY = 1 << 30


def squash(image: Image.Image, size: int) -> Image.Image:
    """``size`` × ``size`` by bicubic resampling, whatever the shape was (as VILA-U does)."""
    return image.resize((size, size), Image.Resampling.BICUBIC)


def image_tensor(image: Image.Image, size: int) -> Tensor:  # uint8 [3, size, size]
    """An RGB image at the encoder's size."""
    return torch.from_numpy(np.array(squash(image, size))).permute(2, 0, 1)


def read_images(
    records: Sequence[Record], size: int, report: ImageReport | None = None
) -> Tensor:  # uint8 [n, 3, size, size]
    """The images of ``records``, decoded and resized once.

    A tensor too large for memory is mapped to a file, which the system pages in as rows are used;
    it goes away with the tensor.

    Args:
        report: takes up what fails and how deep pixels were mapped, for the caller to close; rows
            of images that failed are undefined. Without one, failures are raised here.

    Raises:
        DataError: images are missing or cannot be read.
        OSError: no room for the temporary file.
    """
    shape = (len(records), 3, size, size)
    pixels = torch.from_numpy(_room(shape))
    own = report or ImageReport()
    for row, record in enumerate(records):
        image = own.image(record)
        if image is not None:
            pixels[row] = image_tensor(image, size)
    if report is None:
        own.close()
    return pixels


def _room(shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            # Writing to a mapped file on a full disk would end the process; this fails in time.
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
