"""Any damaged image is one error, raised soon and within the limit on memory."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from craft.data.readers.decoding import UnreadableImage, decode
from craft.data.readers.image_limits import VARIABLE
from tests.craft.data.readers.test_image import ORIENTATION, deep_png, exif_of
from tests.craft.fuzzing import ROUNDS, fuzz

VALUES = np.random.default_rng(0).integers(0, 255, (24, 32, 4), dtype=np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65535, (24, 32, 4)).astype(np.uint16)
#: Kind -> format, mode and options.
KINDS = {
    **{kind: (kind, "RGB", {}) for kind in
       ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")},
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "turned JPEG": ("JPEG", "RGB", {"exif": exif_of(ORIENTATION)}),
    "turned PNG": ("PNG", "RGB", {"exif": exif_of(ORIENTATION)}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "transparent PNG": ("PNG", "RGBA", {}),
    "transparent WEBP": ("WEBP", "RGBA", {"lossless": True}),
    "LZW TIFF": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "BigTIFF": ("TIFF", "RGB", {"big_tiff": True}),
    "fax TIFF": ("TIFF", "1", {"compression": "group4"}),
    **{f"several {kind}": (kind, "RGB", {"save_all": True}) for kind in
       ("MPO", "GIF", "PNG", "WEBP", "AVIF", "TIFF")},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_images(monkeypatch):
    """Damaged headers may ask for as many pixels as the limit allows, which takes longer."""
    monkeypatch.setenv(VARIABLE, "64")


def picture(kind):
    """The bytes of a small image of noise."""
    if kind.startswith("deep"):
        return deep_png(DEEP[..., {"L": [0], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}[kind[5:]]],
                        {"L": 0, "RGB": 2, "RGBA": 6}[kind[5:]])  # fmt: skip
    if kind == "float TIFF":
        image, out = Image.fromarray((VALUES[..., 0] / 255).astype(np.float32)), io.BytesIO()
        image.save(out, "TIFF")
        return out.getvalue()
    form, mode, options = KINDS[kind]
    image, out = Image.fromarray(VALUES).convert(mode), io.BytesIO()
    second = {"append_images": [image.rotate(180)]} if "save_all" in options else {}
    image.save(out, form, **options, **second)
    return out.getvalue()


@ROUNDS
@pytest.mark.parametrize("kind", [*KINDS, "deep L", "deep RGB", "deep RGBA", "float TIFF"])
def test_images(kind, rounds):
    data = picture(kind)
    assert set(decode(data).image.size) == {24, 32}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(data, decode, UnreadableImage, rounds, kind)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def repaired(data):
    """A PNG with its chunks' checksums corrected, so that damage gets past them."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + size]
        if at + 12 + size > len(data):
            break
        out += data[at : at + 8 + size] + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return bytes(out) + data[at:]


@ROUNDS
@pytest.mark.parametrize("kind", ["PNG", "turned PNG", "several PNG", "deep RGB"])
def test_damage_that_png_checksums_do_not_show(kind, rounds):
    fuzz(picture(kind), lambda case: decode(repaired(case)), UnreadableImage, rounds, f"{kind} crc")
