"""Damaged images are one error, whatever is damaged, and soon."""

import io

import numpy as np
import pytest
from PIL import Image

from craft.data.readers.decoding import UnreadableImage, decode
from tests.craft.fuzzing import ROUNDS, fuzz

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO"]


def picture(kind):
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image, out = Image.fromarray(values), io.BytesIO()
    image.save(out, kind, **({"save_all": True, "append_images": [image]} if kind == "MPO" else {}))
    return out.getvalue()


@ROUNDS
@pytest.mark.parametrize("kind", KINDS)
def test_images(kind, rounds):
    fuzz(picture(kind), decode, UnreadableImage, rounds, kind)
