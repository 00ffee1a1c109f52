"""Folders of images by class, as people have them."""

import pytest

from craft.data.readers import DataError, ReadOptions, read_records


def test_the_folder_is_the_class(class_folder, draw):
    draw(class_folder / "thing_aa/deeper/x.jpg", 3)
    (class_folder / "thing_aa/notes.txt").write_text("")
    (class_folder / "thing_aa/.DS_Store").write_text("")
    records = read_records(class_folder)
    assert (records.format, len(records), records.split_counts) == ("image_folder", 81, {None: 81})
    assert records.labels[0] == "thing_aa"
    deep = next(r for r in records if "deeper" in r.id)
    assert (deep.id, deep.label) == ("thing_aa/deeper/x.jpg", "thing_aa")
    assert any("1 files that are no images ignored, first" in note for note in records.notes)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing")])
def test_folders_of_splits(tmp_path, draw, names):
    for number, split in enumerate(names):
        draw(tmp_path / split / "cat/a.png", number)
        draw(tmp_path / split / "dog/a.png", number + 9)
    records = read_records(tmp_path)
    assert records.split_counts == {"train": 2, "val": 2, "test": 2}
    assert records.labels == ["cat", "dog"]


def test_splits_beside_classes_are_refused(tmp_path, draw):
    draw(tmp_path / "train/cat/a.png")
    draw(tmp_path / "cat/a.png")
    with pytest.raises(DataError, match=r"train/ looks like a split, cat/ like a class"):
        read_records(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path, draw):
    draw(tmp_path / "val/cat/a.png")
    draw(tmp_path / "validation/cat/a.png")
    with pytest.raises(DataError, match=r"two folders for the split 'val'"):
        read_records(tmp_path)


def test_images_outside_of_classes_are_refused(tmp_path, draw):
    draw(tmp_path / "cat/a.png")
    loose = draw(tmp_path / "b.png")
    with pytest.raises(DataError, match=f"{loose}: an image outside of any class folder"):
        read_records(tmp_path)


def test_a_class_without_images_is_refused(tmp_path, draw):
    draw(tmp_path / "cat/a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"dog: a class without images"):
        read_records(tmp_path)


def test_corrupt_images_stop_or_are_counted(class_folder):
    bad = class_folder / "thing_bb/3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    records = read_records(class_folder)
    record = next(r for r in records if r.id == "thing_bb/3.png")
    with pytest.raises(DataError, match=f"{bad}: image {bad}: .*truncated"):
        record.rgb()
    kept = read_records(class_folder, ReadOptions(skip_corrupt=True))
    assert len(kept) == 79
    assert [str(bad) in reason for reason in kept.left_out] == [True]
