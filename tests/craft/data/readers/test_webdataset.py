"""Tar shards that are damaged, truncated, unsorted, or have all kinds of extensions."""

import gzip
import io
import os
import random
import re
import tarfile
from typing import Any

import pytest

from craft.data.readers import DataError, read_records
from craft.data.readers.rows import NO_IMAGE
from craft.data.readers.tar_members import tar_members
from craft.data.readers.walk import HIDDEN
from craft.data.readers.webdataset import UNUSED


def shard(path, members, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def png(tmp_path, draw):
    return draw(tmp_path / "source/a.png").read_bytes()


@pytest.fixture
def three(tmp_path, png):
    """Three samples, and the offset of the header of the second one's first member."""
    members = [
        (f"{i}.{kind}", data) for i in range(3) for kind, data in (("png", png), ("cls", b"cat"))
    ]
    path = shard(tmp_path / "train-0.tar", members)
    with tarfile.open(path) as tar:
        return path, tar.getmember("1.png").offset


def test_a_whole_shard_is_read(three):
    assert len(read_records(three[0])) == 3


def test_a_damaged_header_is_not_the_end(three):
    path, offset = three
    data = bytearray(path.read_bytes())
    data[offset + 150] ^= 1  # in the checksum
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"train-0\.tar, offset {offset}: a damaged header"):
        read_records(path)


@pytest.mark.parametrize("more", [0, 200])
def test_a_shard_truncated_at_or_in_a_header_is_refused(three, more):
    path, offset = three
    path.write_bytes(path.read_bytes()[: offset + more])
    with pytest.raises(
        DataError, match=rf"offset {offset}: (the archive has no end|truncated at byte)"
    ):
        read_records(path)


def test_a_truncated_member_is_named(three):
    path, offset = three
    path.write_bytes(path.read_bytes()[: offset + 512 + 10])
    with pytest.raises(
        DataError, match=rf"offset {offset}: truncated at byte \d+, inside '1\.png'"
    ):
        read_records(path)


FORMATS: dict[str, Any] = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}
LONG = "f/" * 60  # too long for a header, so that names are in extra members


def blocks(members, kind):
    """The bytes of an archive up to its end mark, and its contents: (begin, end, name)."""
    body, contents = b"", []
    for name, data in members:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        body += member.tobuf(FORMATS[kind])
        contents.append((len(body), len(body) + len(data), name))
        body += data + bytes(-len(data) % 512)
    return body, contents


def samples(png, folder="", count=3):
    kinds = (("png", png), ("cls", b"cat"), ("txt", b"it sits"))
    return [(f"{folder}{i}.{ending}", data) for i in range(count) for ending, data in kinds]


@pytest.mark.parametrize(("kind", "folder"), [("ustar", ""), ("gnu", LONG), ("pax", LONG)])
def test_a_cut_at_every_byte_is_an_error_or_the_whole_shard(tmp_path, png, kind, folder):
    body, _ = blocks(samples(png, folder, 2 - bool(folder)), kind)
    path = tmp_path / "a.tar"
    path.write_bytes(body + bytes(1024 + 100))
    whole = tar_members(path)
    assert len(whole) == (3 if folder else 6)
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        if size >= len(body) + 1024:
            assert len(tar_members(path)) == len(whole)
        else:
            with pytest.raises(DataError) as error:
                tar_members(path)
            assert re.match(rf"{path}, offset \d+: ", str(error.value)), size
    body += bytes(1024)
    for size in range(0, len(body), 511):
        path.write_bytes(body[:size])
        with pytest.raises(DataError, match=rf"^{path}(, offset \d+)?: "):
            read_records(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_a_flip_never_loses_a_sample_or_changes_a_label(tmp_path, png, kind, seed):
    """Except in texts, for which the format has no checksum; images have their own."""
    body, contents = blocks(samples(png), kind)
    whole = body + bytes(1024)
    path = tmp_path / "a.tar"
    path.write_bytes(whole)
    expected = [(r.id, r.label, r.captions) for r in read_records(path)]
    texts = {at for begin, end, name in contents if name[-3:] != "png" for at in range(begin, end)}
    images = {at for begin, end, name in contents if name[-3:] == "png" for at in range(begin, end)}
    rng = random.Random(f"{kind} {seed}")
    for at in rng.sample(sorted(set(range(len(whole))) - texts), 100):
        changed = bytearray(whole)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            found = [(r.id, r.label, r.captions) for r in read_records(path)]
        except DataError as error:
            found = str(error)
        if isinstance(found, str):
            assert re.match(rf"{path}, offset \d+: ", found), at
            assert at not in images, at
        else:
            assert found == expected, at


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.TAR.GZ"])
def test_a_compressed_shard_is_refused_with_the_way_out(tmp_path, png, name):
    body, _ = blocks(samples(png), "ustar")
    packed = gzip.compress(body + bytes(1024))
    path = tmp_path / "set" / name
    path.parent.mkdir()
    complaint = rf"{name}.*compressed; unpack it \(gunzip\)"
    for size in (len(packed), len(packed) // 2, 40):
        path.write_bytes(packed[:size])
        for given in (path, path.parent):
            with pytest.raises(DataError, match=complaint):
                read_records(given)
    (path.parent / "train-0.tar").write_bytes(body + bytes(1024))
    with pytest.raises(DataError, match=complaint):
        read_records(path.parent)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda body: body + bytes(512), "ends inside its end-of-archive mark"),
        (lambda body: body, "has no end-of-archive mark"),
        (lambda body: body + bytes(512) + body, "a member's header is empty, but more follows"),
        (lambda body: body[:-1] + b"x" + bytes(1024), "there is data between '2.txt' and"),
        (lambda body: bytes(512) + body[512:] + bytes(1024), "header is empty, but more follows"),
    ],
)
def test_data_between_members_is_named(tmp_path, png, damage, complaint):
    path = tmp_path / "a.tar"
    path.write_bytes(damage(blocks(samples(png), "ustar")[0]))
    with pytest.raises(DataError, match=rf"a\.tar, offset \d+: .*{complaint}"):
        read_records(path)


JUNK = ("._0.png", "__MACOSX/0.png", "f/.ipynb_checkpoints/0.png", "@eaDir/0.cls", ".DS_Store")


@pytest.mark.parametrize("junk", JUNK)
def test_junk_in_shards_is_skipped_and_reported(tmp_path, png, junk):
    path = shard(tmp_path / "a.tar", [(junk, png), *samples(png)])
    records = read_records(path)
    assert len(records) == 3
    assert records.account.skipped(HIDDEN) == (f"{path}, {junk}",)


def test_a_sample_without_image_or_label_is_reported_not_refused(tmp_path, png):
    path = shard(tmp_path / "a.tar", [*samples(png), ("z.txt", b"about this shard")])
    records = read_records(path)
    assert len(records) == 3
    assert records.account.skipped(NO_IMAGE) == (f"{path}, sample z",)


def test_shards_that_were_joined_are_refused(three):
    path, _ = three
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"there is data after the end-of-archive mark"):
        read_records(path)


def test_members_of_a_sample_must_be_adjacent(tmp_path, png):
    members = [*((f"{i}.png", png) for i in range(2)), *((f"{i}.txt", b"a cat") for i in range(2))]
    with pytest.raises(DataError, match=r"sample 0: its member 0\.txt is not next to .*sorted"):
        read_records(shard(tmp_path / "a.tar", members))


def test_plain_extensions_are_used_and_others_reported(tmp_path, png):
    members = [
        ("s.png", png),
        ("s.cls", b"cat"),
        ("s.pred.cls", b"dog"),
        ("s.json", b'{"id": "one"}'),
        ("s.meta.json", b'{"id": "two", "label": "cow"}'),
        ("s.txt", b"a cat"),
        ("s.zh.txt", b"other"),
    ]
    (record,) = records = read_records(shard(tmp_path / "a.tar", members))
    assert (record.id, record.label, record.captions) == ("one", "cat", ("a cat",))
    told = records.account.skipped(UNUSED)
    assert [entry.rpartition(", ")[2] for entry in told] == [
        "s.meta.json",
        "s.pred.cls",
        "s.zh.txt",
    ]


def test_several_faults_are_reported_at_once(tmp_path, png):
    members = [("0.png", png), ("0.json", b"{"), ("1.png", png), ("1.json", b"[]")]
    with pytest.raises(DataError, match=r"sample 0: malformed.*1 more faults: .*sample 1"):
        read_records(shard(tmp_path / "a.tar", members))


def test_member_names_that_are_not_utf8(tmp_path, png):
    members = [("caf\udce9.png", png), ("caf\udce9.cls", b"cat")]
    path = shard(tmp_path / "a.tar", members, encoding="utf-8", errors="surrogateescape")
    (record,) = read_records(path)
    assert record.id == "a/caf\\xe9"
    assert record.rgb()
