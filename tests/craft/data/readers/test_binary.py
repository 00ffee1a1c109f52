"""Parquet, saved data sets and WebDataset shards: the images read are those written."""

import io
import json
import os
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from craft.data.domains.building import make_manifest
from craft.data.readers import DataError, ReadOptions, read_records
from craft.data.readers.rows import NO_IMAGE

NAMES = ["cat", "dog"]


@pytest.fixture
def pngs(tmp_path, draw):
    return [draw(tmp_path / f"source/{i}.png", i).read_bytes() for i in range(6)]


def same_pictures(records, pngs):
    return [r.rgb().tobytes() for r in records] == [
        Image.open(io.BytesIO(png)).tobytes() for png in pngs
    ]


def parquet(path, columns, metadata=None, **options):
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def test_a_rewritten_file_is_read_again(tmp_path, pngs):
    for png in pngs[:2]:
        path = parquet(tmp_path / "d.parquet", {"image": [png], "label": ["cat"]})
        (record,) = read_records(path)
        assert record.image.read() == png


def class_label(names):
    return {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}


@pytest.mark.parametrize("kind", ["bytes", "struct", "path"])
def test_parquet_images_come_in_three_kinds(tmp_path, pngs, kind):
    cells = {
        "bytes": pngs,
        "struct": [{"bytes": png, "path": None} for png in pngs],
        "path": [f"{i}.png" for i in range(6)],
    }[kind]
    columns = {"image": cells, "label": [0, 1, 0, 1, 0, 1]}
    path = parquet(tmp_path / "source/d.parquet", columns, class_label(NAMES), row_group_size=4)
    records = read_records(path)
    assert [r.label for r in records] == ["cat", "dog"] * 3
    assert same_pictures(records, pngs)
    assert str(records.records[5].place).endswith("d.parquet, row 5")


def test_parquet_shards_have_their_split_in_their_name(tmp_path, pngs):
    for name, rows in {
        "train-00000-of-00002": (0, 1),
        "train-00001-of-00002": (2, 3),
        "test": (4,),
    }.items():
        columns = {"image": [pngs[i] for i in rows], "label": [NAMES[i % 2] for i in rows]}
        parquet(tmp_path / "set/data" / f"{name}.parquet", columns)
    records = read_records(tmp_path / "set")
    assert records.split_counts == {"train": 4, "test": 1}
    assert any("3 files: test.parquet (test)" in note for note in records.notes)


def test_parquet_questions_with_rows_that_have_no_image(tmp_path, pngs):
    columns = {
        "image": [{"bytes": pngs[0], "path": "x.png"}, None],
        "question": ["Who?", "Why?"],
        "choices": [["cat", "dog"], ["yes", "no"]],
        "answer": [1, 0],
    }
    records = read_records(parquet(tmp_path / "q.parquet", columns))
    assert [r.turns[0].target for r in records] == ["B"]
    assert len(records.account.skipped(NO_IMAGE)) == 1


def test_parquet_mistakes(tmp_path, pngs):
    numbers = parquet(tmp_path / "a.parquet", {"image": pngs[:2], "label": [0, 1]})
    with pytest.raises(DataError, match=r"a.parquet, row 0: label 0 is a number.*--class-names"):
        make_manifest(read_records(numbers))
    out = parquet(tmp_path / "b.parquet", {"image": pngs[:2], "label": [0, 5]}, class_label(NAMES))
    with pytest.raises(DataError, match=r"b.parquet, row 1: label 5, but there are 2 class names"):
        read_records(out)
    other = parquet(tmp_path / "c.parquet", {"picture": pngs[:1], "label": ["x"]})
    with pytest.raises(DataError, match=r"c.parquet: expected .* the columns are \['picture'"):
        read_records(other)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"d.parquet: .*not a Parquet file, or a damaged one"):
        read_records(tmp_path / "d.parquet")
    broken = parquet(tmp_path / "e.parquet", {"image": [b"no image"], "label": ["x"]})
    with pytest.raises(DataError, match=r"e.parquet, row 0: image .*: not an image"):
        read_records(broken).records[0].rgb()
    two = parquet(tmp_path / "f.parquet", {"images": [pngs[:2]], "label": ["x"]})
    with pytest.raises(DataError, match=r"f.parquet, row 0: 2 images"):
        read_records(two)


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_damaged_page_is_named_with_its_shard_and_row_group(tmp_path, draw, column):
    """Images of noise, stored uncompressed, so that their bytes can be found in the file."""
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        cells = [os.urandom(2000) for _ in range(4)]
        labels = [os.urandom(500).hex() for _ in range(4)]
        columns = {"image": cells, "label": labels}
        options = {"row_group_size": 2, "compression": "none", "write_page_checksum": True}
        path = parquet(tmp_path / "set" / f"{name}.parquet", columns, **options)
    assert len(read_records(tmp_path / "set")) == 8
    whole = path.read_bytes()
    at = whole.index(cells[2] if column == "image" else labels[2].encode()) + 100
    path.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
    with pytest.raises(DataError, match=r"shard is damaged; download or write it again") as error:
        read_records(tmp_path / "set")
    assert str(error.value).startswith(f"{path}, row group 1: ")


def or_fault(read, *arguments):
    """The records that a reader returns, or the error it raises."""
    try:
        return read(*arguments)
    except DataError as error:
        return error


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_a_page_without_checksum_is_an_error_or_what_was_written(tmp_path, pngs, compression):
    """Overwritten at every position in turn, no record is lost or gets another id or image; what
    cannot be read is named with its shard, and undamaged shards are not named."""
    for name, rows in (("train-0", range(3)), ("train-1", range(3, 6))):
        columns = {"image": [pngs[i] for i in rows], "label": [f"class {i}" for i in rows]}
        path = parquet(tmp_path / f"set/{name}.parquet", columns, compression=compression)
    whole, ids = path.read_bytes(), [f"train-{i // 3}:{i % 3}" for i in range(6)]
    pictures = [Image.open(io.BytesIO(png)).tobytes() for png in pngs]
    read = refused = 0
    for at in range(4, len(whole) - 64, 61):
        path.write_bytes(whole[:at] + bytes([0xA5]) * 64 + whole[at + 64 :])
        records = or_fault(read_records, tmp_path / "set")
        if isinstance(records, DataError):
            refused += 1
            assert str(records).startswith(str(path)), at
            assert "\n" not in str(records)
            assert len(str(records)) < 2000
            continue
        assert [r.id for r in records] == ids, at
        assert [r.label for r in records][:3] == [f"class {i}" for i in range(3)], at
        for record, picture in zip(records, pictures, strict=True):
            found = or_fault(record.rgb)
            if isinstance(found, DataError):
                refused += 1
                assert str(found).startswith(f"{path}, row"), at
            else:
                read += 1
                assert found.tobytes() == picture, at
    assert read > 3
    assert refused > 3


def dataset(pngs):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    cells = [{"bytes": png, "path": None} for png in pngs]
    return datasets.Dataset.from_dict(
        {"image": cells, "label": [i % 2 for i in range(len(pngs))]}, features=features
    )


def test_a_saved_dataset(tmp_path, pngs):
    dataset(pngs).save_to_disk(tmp_path / "one")
    records = read_records(tmp_path / "one")
    assert (records.format, records.split_counts) == ("hf_disk", {None: 6})
    assert [r.label for r in records] == ["cat", "dog"] * 3
    assert same_pictures(records, pngs)


def test_a_saved_dict_of_splits(tmp_path, pngs):
    parts = datasets.DatasetDict({"train": dataset(pngs[:4]), "validation": dataset(pngs[4:])})
    parts.save_to_disk(tmp_path / "two")
    records = read_records(tmp_path / "two")
    assert records.split_counts == {"train": 4, "val": 2}
    assert str(records.records[4].place).endswith("two, validation row 0")
    datasets.DatasetDict({"corrupted": dataset(pngs)}).save_to_disk(tmp_path / "three")
    with pytest.raises(DataError, match=r"splits must be train, val or test, got \['corrupted'\]"):
        read_records(tmp_path / "three")


def shard(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_webdataset_labels_and_questions(tmp_path, pngs):
    path = shard(
        tmp_path / "train-000.tar",
        [
            ("s/0001.png", pngs[0]),
            ("s/0001.cls", b"1"),
            ("s/0002.png", pngs[1]),
            ("s/0002.cls", b"0"),
            ("s/0002.txt", b"a cat"),
        ],
    )
    records = read_records(path, ReadOptions(class_names=tuple(NAMES)))
    assert [(r.label, r.split, r.captions) for r in records] == [
        ("dog", "train", ()),
        ("cat", "train", ("a cat",)),
    ]
    assert same_pictures(records, pngs[:2])
    question = json.dumps({"question": "Who?", "answer": "cat"}).encode()
    records = read_records(shard(tmp_path / "q.tar", [("1.json", question), ("1.png", pngs[2])]))
    assert [r.turns[0].target for r in records] == ["cat"]


def test_webdataset_mistakes(tmp_path, pngs):
    whole = shard(tmp_path / "a.tar", [("1.png", pngs[0]), ("1.cls", b"x"), ("2.cls", b"x")])
    assert read_records(whole).account.skipped(NO_IMAGE) == (f"{whole}, sample 2",)
    twice = shard(tmp_path / "b.tar", [("1.png", pngs[0]), ("1.jpg", pngs[0]), ("1.cls", b"x")])
    with pytest.raises(DataError, match=r"b.tar, sample 1: 2 images"):
        read_records(twice)
    bare = shard(tmp_path / "c.tar", [("1.png", pngs[0])])
    with pytest.raises(DataError, match=r"c.tar: expected an image column"):
        read_records(bare)
    cut = tmp_path / "d.tar"
    cut.write_bytes(whole.read_bytes()[:900])
    with pytest.raises(DataError, match=r"d.tar, offset 0: truncated at byte 900, inside '1.png'"):
        read_records(cut)
    wrong = shard(tmp_path / "e.tar", [("1.png", pngs[0]), ("1.json", b"{")])
    with pytest.raises(DataError, match=r"e.tar, sample 1: malformed JSON"):
        read_records(wrong)
    (tmp_path / "f.tar").write_bytes(b"\x1f\x8b" + b"0" * 600)
    with pytest.raises(DataError, match=r"offset 0: the shard is compressed"):
        read_records(tmp_path / "f.tar")
