"""Tar shards as they arrive: damaged, cut short, in another order, with endings of all kinds."""

import io
import tarfile

import pytest

from craft.data.readers import DataError, read_records
from craft.data.readers.webdataset import LONGER


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
    """Three samples; and where the header of the second one's first member begins."""
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
def test_a_shard_cut_at_a_header_or_in_one_is_not_shorter(three, more):
    path, offset = three
    path.write_bytes(path.read_bytes()[: offset + more])
    with pytest.raises(DataError, match=rf"offset {offset}: (the archive ends|a damaged header)"):
        read_records(path)


def test_a_member_that_is_cut_is_named(three):
    path, offset = three
    path.write_bytes(path.read_bytes()[: offset + 512 + 10])
    with pytest.raises(DataError, match=r"cut short at byte \d+, inside a member"):
        read_records(path)


def test_shards_that_were_joined_are_refused(three):
    path, _ = three
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"something stands behind the end-of-archive mark"):
        read_records(path)


def test_members_of_a_sample_must_be_neighbours(tmp_path, png):
    members = [*((f"{i}.png", png) for i in range(2)), *((f"{i}.txt", b"a cat") for i in range(2))]
    with pytest.raises(DataError, match=r"sample 0: its member 0\.txt is not beside .*sorted"):
        read_records(shard(tmp_path / "a.tar", members))


def test_plain_endings_count_and_others_are_told(tmp_path, png):
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
    told = records.account.skipped(LONGER)
    assert [entry.rpartition(", ")[2] for entry in told] == [
        "s.meta.json",
        "s.pred.cls",
        "s.zh.txt",
    ]


def test_several_faults_are_told_at_once(tmp_path, png):
    members = [("0.png", png), ("0.json", b"{"), ("1.png", png), ("1.json", b"[]")]
    with pytest.raises(DataError, match=r"sample 0: malformed.*1 more faults: .*sample 1"):
        read_records(shard(tmp_path / "a.tar", members))


def test_member_names_that_are_not_utf8(tmp_path, png):
    members = [("caf\udce9.png", png), ("caf\udce9.cls", b"cat")]
    path = shard(tmp_path / "a.tar", members, encoding="utf-8", errors="surrogateescape")
    (record,) = read_records(path)
    assert record.id == "a/caf\\xe9"
    assert record.rgb()
