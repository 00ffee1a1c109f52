"""Of files with several images the first is read, and the account reports the others."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from craft.data.readers import ImageReport, read_records
from craft.data.readers.decoding import decode
from craft.data.readers.image_report import SEVERAL

RED = (255, 0, 0)


def pictures(kind, count, **options):
    frames = [Image.new("RGB", (30, 20), (255 - 40 * i, 0, 40 * i)) for i in range(count)]
    if kind == "GIF":
        frames = [frame.quantize(16) for frame in frames]
    out = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if count > 1 else {}
    frames[0].save(out, kind, **more, **options)
    return out.getvalue()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
    ids=str,
)
def test_pages_and_frames_are_counted_and_the_first_is_read(kind, options, count):
    data = pictures(kind, count, **options)
    found = decode(data)
    assert found.frames == count
    assert np.abs(np.asarray(found.image)[10, 15] - np.array(RED)).max() < 6
    with Image.open(io.BytesIO(data)) as image:
        assert found.frames == getattr(image, "n_frames", 1)


def test_big_endian_tiff_pages_are_counted():
    data = bytearray(b"MM\0*" + struct.pack(">I", 8))
    for page in range(3):
        entries = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8 << 16), (262, 3, 1, 1 << 16)]
        entries += [(273, 4, 1, 8), (277, 3, 1, 1 << 16), (278, 4, 1, 1), (279, 4, 1, 1)]
        data += struct.pack(">H", len(entries))
        for tag, type_, number, value in entries:
            data += struct.pack(">HHII", tag, type_, number, value)
        data += struct.pack(">I", 0 if page == 2 else len(data) + 4)
    assert decode(bytes(data)).frames == 3


def test_thumbnails_in_a_tiff_are_not_counted():
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out) as writer:
        for reduced in (0, 1, 1):
            size = (8, 6) if reduced else (30, 20)
            Image.new("RGB", size, RED).save(writer, "TIFF", tiffinfo={254: reduced})
            writer.newFrame()
    assert decode(out.getvalue()).frames == 1


def test_a_big_tiff_whose_chain_leads_out_of_the_file():
    data = bytearray(pictures("TIFF", 1, big_tiff=True))
    (directory,) = struct.unpack_from("<Q", data, 8)
    (entries,) = struct.unpack_from("<Q", data, directory)
    struct.pack_into("<Q", data, directory + 8 + 20 * entries, 2**64 - 1)
    assert decode(bytes(data)).frames == 1


@pytest.mark.parametrize("at", ["nowhere", "itself", "odd"])
def test_a_damaged_chain_of_pages_ends(at):
    data = bytearray(pictures("TIFF", 1))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    next_ = {"nowhere": 2**32 - 1, "itself": directory, "odd": len(data) - 3}[at]
    struct.pack_into("<I", data, directory + 2 + 12 * entries, next_)
    assert decode(bytes(data)).frames == 1


def test_the_account_says_that_only_the_first_is_read(tmp_path):
    for name, count in (("cat", 3), ("dog", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tiff").write_bytes(pictures("TIFF", count))
    records = read_records(tmp_path)
    report = ImageReport(records.account)
    for record in records:
        report.image(record)
    (told,) = report.close().summary(2).warnings
    assert told.reason == SEVERAL
    assert told.places == (f"{tmp_path / 'cat/a.tiff'}: the first of 3",)
