"""Images that need too much memory are refused by their header; estimates are upper bounds."""

import io
import json
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from craft.data.readers import image_limits
from craft.data.readers.decoding import CorruptImage, UnreadableImage, decode, decode_rgb
from craft.data.readers.image_header import opened
from craft.errors import CraftError


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def blank_png(side, depth, colour):
    """A PNG of zeros, compressed row by row: a few kilobytes for any size."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + -(-side * depth * channels // 8))
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row) for _ in range(min(side, 64))) + packer.flush()
    palette = chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def resized(kind, side):
    """A tiny image whose header claims an enormous size."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = bytearray(out.getvalue())
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
        at = data.index(b"\x2c")
        data[at + 5 : at + 9] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "TIFF":
        tiff = io.BytesIO()
        Image.new("RGB", (16, 16)).save(tiff, "TIFF")
        data = bytearray(tiff.getvalue())
        (directory,) = struct.unpack_from("<I", data, 4)
        for entry in range(struct.unpack_from("<H", data, directory)[0]):
            at = directory + 2 + 12 * entry
            if struct.unpack_from("<H", data, at)[0] in (256, 257, 278):  # width, height, rows
                struct.pack_into("<HII", data, at + 2, 4, 1, side)
    elif kind == "JPEG2000":
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", side, side)
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = struct.pack(">II", side, side)
        data[at + 16 : at + 24] = struct.pack(">II", side, side)
    elif kind == "PPM":
        data = bytearray(f"P6 {side} {side} 255\n".encode())
    return bytes(data)


HUGE = {
    "9,400 x 9,400 of 16 bits": lambda: blank_png(9_400, 16, 2),
    "9,400 x 9,400 of 16 bits with alpha": lambda: blank_png(9_400, 16, 6),
    "30,000 x 30,000 of one bit": lambda: blank_png(30_000, 1, 0),
    "a palette": lambda: blank_png(30_000, 8, 3),
    **{kind: lambda kind=kind: resized(kind, 30_000) for kind in
       ("GIF", "BMP", "TIFF", "JPEG2000", "PPM")},
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_images_beyond_the_limit_are_refused_at_once(name):
    data = HUGE[name]()
    began = time.perf_counter()
    with pytest.raises(UnreadableImage, match=r"too large: \d+×\d+ .* the limit is 1,024;"):
        decode(data)
    assert time.perf_counter() - began < 0.5


def test_the_refusal_tells_how_to_raise_the_limit(monkeypatch):
    data = io.BytesIO()
    Image.new("RGB", (600, 500), "red").save(data, "PNG")
    monkeypatch.setenv(image_limits.VARIABLE, "2")
    with pytest.raises(UnreadableImage, match=r"600×500 .*or set CRAFT_MAX_IMAGE_MIB=3$") as error:
        decode(data.getvalue())
    assert not isinstance(error.value, CorruptImage)  # which --skip-corrupt would skip
    monkeypatch.setenv(image_limits.VARIABLE, "3")
    assert decode_rgb(data.getvalue()).getpixel((0, 0)) == (255, 0, 0)
    monkeypatch.delenv(image_limits.VARIABLE)
    assert decode_rgb(data.getvalue()).size == (600, 500)


def test_pillows_limit_does_not_apply(monkeypatch):
    """Pillow's limit, which is one for the whole process, neither refuses nor warns."""
    data = io.BytesIO()
    Image.new("RGB", (60, 50)).save(data, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_rgb(data.getvalue()).size == (60, 50)


@pytest.mark.parametrize("said", ["", "0", "-1", "1.5", "much", "²"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, said):
    monkeypatch.setenv(image_limits.VARIABLE, said)
    with pytest.raises(CraftError, match=r"CRAFT_MAX_IMAGE_MIB must be a whole number"):
        image_limits.most_bytes()


MEASURE = """
import json, sys, time
from craft.data.readers.decoding import decode
from craft.data.readers.decoding import _deep
from craft.data.readers.image_header import opened
from craft.data.readers.image_limits import bytes_to_decode

def now(name):
    with open("/proc/self/status") as lines:
        return next(int(x.split()[1]) << 10 for x in lines if x.startswith(name))

found = {}
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    image = opened(data)
    estimate = bytes_to_decode(image, _deep(image))
    del image
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, began = now("VmRSS"), time.perf_counter()
    size = decode(data).image.size
    found[path] = (now("VmHWM") - before, estimate, size, time.perf_counter() - began)
print(json.dumps(found))
"""


def measured(*paths):
    """Path -> (peak, estimate, size, seconds), measured in a separate process."""
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_decoding_takes_no_more_than_estimated(tmp_path):
    side = 1280
    blocks = np.random.default_rng(0).integers(0, 255, (side // 16, side // 16, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)
    clear = image.copy()
    clear.putalpha(128)
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    image.save(tmp_path / "warm.png")
    for name in ("a.png", "a.jpg", "a.webp", "a.jp2", "a.tif", "a.bmp", "a.gif"):
        image.save(tmp_path / name)
    image.save(tmp_path / "a.avif", speed=10)
    image.save(tmp_path / "progressive.jpg", progressive=True, subsampling=0)
    for name in ("clear.png", "clear.webp"):
        clear.save(tmp_path / name)
    clear.convert("LA").save(tmp_path / "la.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.float32) / 65535).save(tmp_path / "float.tif")
    paths = sorted(tmp_path.iterdir(), key=lambda path: path.name != "warm.png")
    for path, (peak, estimate, _, _) in list(measured(*paths).items())[1:]:
        assert peak < 1.1 * estimate + (4 << 20), path
        assert estimate < 20 * peak, path


def test_a_very_large_jpeg_is_decoded_small(tmp_path):
    """108 million pixels, which are never decoded in full."""
    wide = Image.new("L", (12_000, 9_000), 200)
    wide.paste(40, (0, 0, 6_000, 9_000))
    wide.save(tmp_path / "a.jpg")
    ((peak, estimate, size, seconds),) = measured(tmp_path / "a.jpg").values()
    assert size == [6_000, 4_500]
    assert peak < 200 << 20
    assert estimate < 300 << 20
    assert seconds < 10


def test_a_jpeg_at_the_edge_is_decoded_in_full(monkeypatch):
    data = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "JPEG")
    monkeypatch.setattr(image_limits, "DRAFTED_ABOVE", 64 * 48)
    assert decode_rgb(data.getvalue()).size == (64, 48)
    for most, size in ((64 * 48 - 1, (32, 24)), (700, (16, 12)), (100, (8, 6)), (2, (8, 6))):
        monkeypatch.setattr(image_limits, "DRAFTED_ABOVE", most)
        small = decode_rgb(data.getvalue())
        assert small.size == size
        assert np.abs(np.asarray(small).astype(int) - (254, 0, 0)).max() < 4
        assert opened(data.getvalue()).size == (64, 48)
