"""What is taken for what, and what is refused as ambiguous."""

import json

import pytest

from craft.data.readers import DataError, ReadOptions, read_records


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
