"""Every kind of picture becomes upright 8-bit RGB, or an error."""

import io

import numpy as np
import pytest
from PIL import Image

from craft.data.readers.image import UnreadableImage, decode_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image, at=(0, 0)):
    assert image.mode == "RGB"
    return image.getpixel(at)


def near(found, expected, tolerance=6):
    return all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


def test_cmyk_keeps_its_colour():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert near(pixel(decode_rgb(encoded(image, "JPEG", quality=95))), RED)
    assert near(pixel(decode_rgb(encoded(image, "TIFF"))), RED)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = decode_rgb(encoded(Image.fromarray(values), kind))
    assert [pixel(image, (x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


def test_floats_must_lie_between_zero_and_one():
    good = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert pixel(decode_rgb(encoded(good, "TIFF")), (1, 0)) == (128, 128, 128)
    bad = Image.fromarray(np.array([[0.0, 300.0]], dtype=np.float32))
    with pytest.raises(UnreadableImage, match=r"must lie in \[0, 1\], they are in \[0, 300\]"):
        decode_rgb(encoded(bad, "TIFF"))


def test_transparency_becomes_white():
    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (*RED, 255))
    assert pixel(decode_rgb(encoded(rgba))) == WHITE
    assert pixel(decode_rgb(encoded(rgba)), (1, 0)) == RED
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, *RED])
    palette.putpixel((1, 0), 1)
    data = encoded(palette, transparency=0)
    assert [pixel(decode_rgb(data), (x, 0)) for x in range(2)] == [WHITE, RED]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_other_modes(mode):
    image = Image.new("RGB", (4, 4), WHITE).convert("L").convert(mode)
    assert pixel(decode_rgb(encoded(image))) == WHITE


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (8, 4), WHITE)
    image.paste(RED, (0, 0, 4, 4))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise: left becomes top
    upright = decode_rgb(encoded(image, "JPEG", exif=exif, quality=95, subsampling=0))
    assert upright.size == (4, 8)
    assert near(pixel(upright, (2, 0)), RED, 30)
    assert near(pixel(upright, (2, 7)), WHITE, 30)


def test_a_truncated_jpeg_is_refused():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(UnreadableImage, match=r"cannot be decoded, .*truncated"):
        decode_rgb(data[: len(data) // 2])


@pytest.mark.parametrize(("data", "start"), [(b"", "nothing"), (b"<html>", "3c 68 74 6d 6c 3e")])
def test_what_is_no_image_is_refused(data, start):
    with pytest.raises(
        UnreadableImage, match=f"not an image: {len(data)} bytes that start {start}"
    ):
        decode_rgb(data)


def test_an_image_large_enough_to_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for side in (4, 40):  # Pillow warns at first, and refuses above twice the limit
        with pytest.raises(UnreadableImage, match=r"exceeds limit"):
            decode_rgb(encoded(Image.new("RGB", (side, side))))
