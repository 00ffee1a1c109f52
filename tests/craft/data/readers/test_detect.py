"""What is taken for what, and what is refused as ambiguous."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.readers import DataError, ReadOptions, read_records
from craft.data.readers.detect import BESIDE, UNNAMED


def test_annotation_files_of_several_splits(tmp_path, draw):
    draw(tmp_path / "images/a.png")
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_text(
            json.dumps([{"image": "a.png", "question": "Who?", "answer": split}])
        )
    records = read_records(tmp_path)
    assert {r.split: r.turns[0].target for r in records} == {"train": "train", "test": "test"}
    (tmp_path / "more.json").write_text('[{"image": "a.png", "question": "Who?", "answer": "x"}]')
    with pytest.raises(DataError, match=r"several annotation files, and more\.json names no split"):
        read_records(tmp_path)


def test_several_formats_are_refused(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,x\n")
    (tmp_path / "train.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"several formats \(table, webdataset\)"):
        read_records(tmp_path)
    assert len(read_records(tmp_path / "t.csv")) == 1


@pytest.mark.parametrize("name", ["a.txt", "a.zip"])
def test_unknown_files_are_refused_with_what_is_known(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"unknown kind of file .*known are folders of images"):
        read_records(tmp_path / name)


def test_nothing(tmp_path):
    with pytest.raises(DataError, match=r"an empty folder"):
        read_records(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such file or folder"):
        read_records(tmp_path / "gone")
    (tmp_path / "e.json").write_text("[]")
    with pytest.raises(DataError, match=r"holds no records"):
        read_records(tmp_path / "e.json")


def test_the_user_can_name_the_format(class_folder):
    (class_folder / "notes.json").write_text("[1]")
    with pytest.raises(DataError, match=r"notes.json:1: expected an object"):
        read_records(class_folder)
    assert len(read_records(class_folder, ReadOptions(format="image_folder"))) == 80


def test_labels_beside_questions_are_refused(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("image,label\na.png,x\n")
    (tmp_path / "test.csv").write_text("image,question,answer\na.png,Who?,x\n")
    with pytest.raises(DataError, match=r"this record has a label, the first one .* has questions"):
        read_records(tmp_path)


def write_parquet(path, draw, tmp_path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    png = draw(tmp_path / "source/x.png").read_bytes()
    pq.write_table(pa.table({"image": [png] * rows, "label": ["cat"] * rows}), path)


@pytest.mark.parametrize(
    "file", ["data/train-00000-of-00001.parquet", "default/train/0000.parquet"]
)
def test_a_cloned_data_repository(tmp_path, draw, file):
    repository = tmp_path / "flowers"
    write_parquet(repository / file, draw, tmp_path, 3)
    (repository / "README.md").write_text("---\nlicense: mit\n---\n")
    (repository / "dataset_infos.json").write_text("{}")
    (repository / ".gitattributes").write_text("*.parquet filter=lfs\n")
    records = read_records(repository)
    assert (records.format, records.split_counts) == ("parquet", {"train": 3})
    beside = [Path(entry).name for entry in records.account.skipped(BESIDE)]
    assert beside == ["README.md", "dataset_infos.json"]


def test_endings_in_capitals_are_read(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "train.JSONL").write_text('{"image": "a.png", "label": "x", "id": "1"}\n')
    (tmp_path / "test.jsonl").write_text('{"image": "a.png", "label": "y", "id": "2"}\n')
    assert read_records(tmp_path).split_counts == {"train": 1, "test": 1}


def test_a_compressed_part_is_refused_not_overlooked(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("image,label\na.png,x\n")
    (tmp_path / "test.csv.gz").write_bytes(gzip.compress(b"image,label\na.png,y\n"))
    with pytest.raises(DataError, match=r"test\.csv\.gz: a compressed table; unpack it"):
        read_records(tmp_path)


def test_a_stray_table_beside_folders_by_class_is_refused(tmp_path, draw):
    for split in ("train", "test"):
        draw(tmp_path / split / "cat/a.png")
        draw(tmp_path / split / "dog/a.png", 3)
    (tmp_path / "labels.csv").write_text("image,label\ntrain/cat/a.png,cat\n")
    with pytest.raises(DataError, match=r"holds labels\.csv and images by class in test/, train/"):
        read_records(tmp_path)
    assert len(read_records(tmp_path, ReadOptions(format="image_folder"))) == 4


def test_images_that_a_table_does_not_name_are_told(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"images/{name}.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,x\n")
    records = read_records(tmp_path)
    (tally,) = records.account.summary(1).warnings
    assert (tally.reason, tally.count) == (UNNAMED, 2)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid x\n"])
def test_files_without_content_of_their_own_are_named(tmp_path, content):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv: (the file is empty|a Git LFS pointer)"):
        read_records(tmp_path)
