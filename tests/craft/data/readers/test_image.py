"""Every kind of image becomes upright 8-bit RGB, or an error."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from craft.data.readers.decoding import CorruptImage, UnreadableImage, decode, decode_rgb
from craft.data.readers.pixel_range import PixelRange

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
    exif[0x0112] = 6  # shown rotated a quarter clockwise: left becomes top
    upright = decode_rgb(encoded(image, "JPEG", exif=exif, quality=95, subsampling=0))
    assert upright.size == (4, 8)
    assert near(pixel(upright, (2, 0)), RED, 30)
    assert near(pixel(upright, (2, 7)), WHITE, 30)


def test_a_truncated_jpeg_is_refused():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(UnreadableImage, match=r"cannot be decoded, .*truncated"):
        decode_rgb(data[: len(data) // 2])


def test_other_data_is_refused():
    with pytest.raises(CorruptImage, match="not an image: 6 bytes that start 3c 68 74 6d 6c 3e"):
        decode_rgb(b"<html>")
    with pytest.raises(CorruptImage, match="an empty file"):
        decode_rgb(b"")


ORIENTATION = (0x112, 3, 1, struct.pack("<HH", 6, 0))
WRONG = {
    "resolution as text": (0x11A, 2, 4, b"abc\0"),
    "unit as long": (0x128, 4, 1, struct.pack("<I", 70000)),
    "rational -1/0": (0x11A, 10, 1, struct.pack("<ii", -1, 0)),
    "another directory nowhere": (0x8769, 4, 1, struct.pack("<I", 99999)),
}


def exif_of(*fields):
    """An EXIF block with only these fields, of any types."""
    behind = 8 + 2 + 12 * len(fields) + 4
    block, extra = b"II*\0" + struct.pack("<IH", 8, len(fields)), b""
    for tag, kind, count, value in fields:
        block += struct.pack("<HHI", tag, kind, count)
        block += value if len(value) == 4 else struct.pack("<I", behind + len(extra))
        extra += value if len(value) > 4 else b""
    return b"Exif\0\0" + block + b"\0" * 4 + extra


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
def test_wrong_types_beside_the_orientation_do_not_matter(kind, wrong):
    image = Image.new("RGB", (8, 4), WHITE)
    image.paste(RED, (0, 0, 4, 4))
    exif = exif_of(ORIENTATION, WRONG[wrong])
    if kind == "MPO":
        data = encoded(image, kind, save_all=True, append_images=[image])
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    else:
        data = encoded(image, kind, exif=exif)
    upright = decode_rgb(data)
    assert upright.size == (4, 8)
    assert near(pixel(upright, (2, 0)), RED, 60)
    assert near(pixel(upright, (2, 7)), WHITE, 60)


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_formats_that_are_read(kind):
    assert near(pixel(decode_rgb(encoded(Image.new("RGB", (16, 16), RED), kind))), RED)


def test_a_damaged_second_image_does_not_affect_the_first():
    image = Image.new("RGB", (16, 16), RED)
    data = encoded(image, "MPO", save_all=True, append_images=[image])
    at = data.index(b"MPF\0")
    for place in range(at + 4, at + 40):  # Pillow's MPO reader fails at some of these
        damaged = data[:place] + b"\xff" + data[place + 1 :]
        assert near(pixel(decode_rgb(damaged)), RED)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "PSD"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "Windows metafile"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_unsupported_formats_are_named_and_start_no_program(data, named, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)  # it would start Ghostscript
    with pytest.raises(
        UnreadableImage, match=f"is {named}, which is not supported; convert"
    ) as caught:
        decode_rgb(data)
    assert not isinstance(caught.value, CorruptImage)


def test_a_git_lfs_pointer_is_named():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    with pytest.raises(UnreadableImage, match=r"Git LFS pointer.*git lfs pull"):
        decode_rgb(pointer)


def deep_png(values, colour):
    """Encode [H, W, C] of 16 bits as PNG, which Pillow cannot do for colours."""
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_png_without_its_palette_is_damaged():
    data = bytearray(encoded(Image.new("P", (4, 4))))
    at = data.index(b"PLTE") - 4
    (size,) = struct.unpack_from(">I", data, at)
    del data[at : at + 12 + size]
    with pytest.raises(CorruptImage, match="its palette is missing"):
        decode_rgb(bytes(data))


def test_pillow_logs_nothing_about_a_damaged_tiff(caplog):
    data = bytearray(encoded(Image.new("RGB", (4, 4)), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == 277:  # samples per pixel
            struct.pack_into("<H", data, at + 8, 2048)
    with pytest.raises(CorruptImage):
        decode_rgb(bytes(data))
    assert not caplog.records


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_a_pixel_range_maps_what_an_instrument_wrote(colour, channels):
    values = np.random.default_rng(0).integers(0, 4096, (9, 7, channels)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, 4095
    whole, found, _ = decode(deep_png(values, colour))
    assert np.asarray(whole).max() == 16  # almost black in the range of 16 bits
    assert found is not None
    assert (found.low, found.high, str(found.used)) == (0, 4095, "0:65535")
    used = PixelRange.parse("0:4095")
    mapped, found, _ = decode(deep_png(values, colour), used)
    exact = np.rint(values.astype(np.float64) / 4095 * 255)
    assert np.array_equal(np.asarray(mapped), np.broadcast_to(exact, (9, 7, 3)))
    assert found is not None
    assert not found.clipped
    windowed, found, _ = decode(deep_png(values, colour), PixelRange.parse("1000:2000"))
    assert np.asarray(windowed).min() == 0
    assert np.asarray(windowed).max() == 255
    assert found is not None
    assert found.clipped


@pytest.mark.parametrize("text", ["4095", "0:", "a:b", "4095:0", "0:inf", "nan:1"])
def test_invalid_pixel_ranges(text):
    with pytest.raises(ValueError, match=r"pixel range") as caught:
        PixelRange.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_libtiff_prints_nothing_of_a_damaged_tiff(compression, capfd):
    values = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(values), "TIFF", compression=compression)
    refused = 0
    rng = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(8, len(data), 8):
            data[at] ^= 0xFF
        try:
            decode_rgb(bytes(data))
        except UnreadableImage:
            refused += 1
    assert refused
    assert capfd.readouterr().err == ""
