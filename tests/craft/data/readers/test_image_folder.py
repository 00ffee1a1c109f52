"""Folders of images by class."""

import os
import tarfile

import pytest

from craft.data.readers import DataError, ReadOptions, read_records
from craft.data.readers.image_folder import OTHERS, UNREAD
from craft.data.readers.walk import HIDDEN


def test_the_folder_is_the_class(class_folder, draw):
    draw(class_folder / "thing_aa/deeper/x.jpg", 3)
    (class_folder / "thing_aa/notes.txt").write_text("")
    (class_folder / "thing_aa/.DS_Store").write_text("")
    records = read_records(class_folder)
    assert (records.format, len(records), records.split_counts) == ("image_folder", 81, {None: 81})
    assert records.labels[0] == "thing_aa"
    deep = next(r for r in records if "deeper" in r.id)
    assert (deep.id, deep.label) == ("thing_aa/deeper/x.jpg", "thing_aa")
    assert records.account.skipped(OTHERS) == (str(class_folder / "thing_aa/notes.txt"),)
    assert records.account.skipped(HIDDEN) == (str(class_folder / "thing_aa/.DS_Store"),)


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
    with pytest.raises(DataError, match=f"{loose}: an image outside any class folder"):
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


JUNK = (
    ".ipynb_checkpoints/a.png",
    ".thumbnails/a.png",
    "__MACOSX/cat/._a.png",
    "@eaDir/a.png",
    "cat/._a.png",
    "cat/.ipynb_checkpoints/a-checkpoint.png",
    "cat/@eaDir/a.png",
    ".git/a.png",
)


@pytest.mark.parametrize("junk", JUNK)
def test_files_of_systems_and_tools_are_not_images(tmp_path, draw, junk):
    for name in ("cat", "dog"):
        draw(tmp_path / name / "a.png")
    draw(tmp_path / junk, 5)
    records = read_records(tmp_path)
    assert [r.id for r in records] == ["cat/a.png", "dog/a.png"]
    assert len(records.account.skipped(HIDDEN)) == 1


def test_links_are_followed_but_not_in_circles(tmp_path, draw):
    draw(tmp_path / "elsewhere/a.png")
    draw(tmp_path / "data/cat/a.png", 1)
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/cat/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    records = read_records(tmp_path / "data")
    assert [r.id for r in records] == ["cat/a.png", "cat/gone.png", "dog/a.png"]
    assert len(records.account.skipped("links back to a folder above them")) == 1
    with pytest.raises(DataError, match=r"gone\.png"):
        records.records[1].rgb()


def test_classes_may_contain_the_splits(tmp_path, draw):
    for number, name in enumerate(["cat", "dog"]):
        draw(tmp_path / name / "train/a.png", number)
        draw(tmp_path / name / "test/b.png", number + 9)
    records = read_records(tmp_path)
    assert records.labels == ["cat", "dog"]
    assert records.split_counts == {"train": 2, "test": 2}
    draw(tmp_path / "dog/c.png", 3)
    with pytest.raises(DataError, match=r"c\.png: is in no split, but other images are in test/"):
        read_records(tmp_path)


def test_unsupported_images_are_named(tmp_path, draw):
    draw(tmp_path / "cat/a.PNG")
    draw(tmp_path / "dog/a.png")
    (tmp_path / "dog/b.heic").write_bytes(b"x")
    records = read_records(tmp_path)
    assert [r.id for r in records] == ["cat/a.PNG", "dog/a.png"]
    assert records.account.skipped(UNREAD) == (
        f"{tmp_path / 'dog/b.heic'}: convert it to PNG or JPEG",
    )
    (tmp_path / "dog/a.png").unlink()
    with pytest.raises(DataError, match=r"dog: a class without images, only files in unsupported"):
        read_records(tmp_path)


def test_names_that_are_not_utf8_are_read_or_named(tmp_path, draw):
    draw(tmp_path / "cat/a.png")
    draw(tmp_path / "dog/a.png")
    wild = os.fsencode(tmp_path / "cat") + b"/caf\xe9.png"
    os.rename(draw(tmp_path / "cat/b.png"), wild)
    records = read_records(tmp_path)
    assert [r.id for r in records] == ["cat/a.png", "cat/caf\\xe9.png", "dog/a.png"]
    assert records.records[1].rgb()
    os.rename(tmp_path / "dog", os.fsencode(tmp_path) + b"/d\xf6g")
    with pytest.raises(DataError, match=r"d\\xf6g: its name is not UTF-8"):
        read_records(tmp_path)


def test_small_classes_are_left_out_and_counted(class_folder):
    for image in sorted((class_folder / "thing_bb").iterdir())[3:]:
        image.unlink()
    records = read_records(class_folder, ReadOptions(min_images=4))
    assert len(records) == 70
    assert "thing_bb" not in records.labels
    (tally,) = records.account.summary(70).skipped
    assert (tally.reason, tally.count) == ("images of classes with too few images", 3)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("jfif", "JPEG"), ("jpe", "JPEG"), ("AVIF", "AVIF"), ("apng", "PNG"), ("MPO", "JPEG")],
)
def test_rare_suffixes_are_read_in_folders_tables_and_shards(tmp_path, draw, ending, kind):
    for number, name in enumerate(["cat", "dog"]):
        draw(tmp_path / f"set/{name}/a.{ending}", number, format=kind)
    assert [r.rgb().size for r in read_records(tmp_path / "set")] == [(30, 20)] * 2
    table = tmp_path / "t.csv"
    table.write_text(f"image,label\nset/cat/a.{ending},cat\n")
    assert read_records(table).records[0].rgb().size == (30, 20)
    (tmp_path / "a.cls").write_text("cat")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / f"set/cat/a.{ending}", f"a.{ending}")
        tar.add(tmp_path / "a.cls", "a.cls")
    assert read_records(tmp_path / "s.tar").records[0].rgb().size == (30, 20)


@pytest.mark.parametrize(
    "ending", ["heic", "HEIF", "svg", "fits", "orf", "dcm", "nii", "jxl", "psd"]
)
def test_every_unsupported_format_is_reported_as_an_image(tmp_path, draw, ending):
    draw(tmp_path / "cat/a.png")
    draw(tmp_path / "dog/a.png", 1)
    (tmp_path / f"dog/b.{ending}").write_bytes(b"x")
    (told,) = read_records(tmp_path).account.skipped(UNREAD)
    assert told == f"{tmp_path / f'dog/b.{ending}'}: convert it to PNG or JPEG"


def test_an_archive_beside_classes_is_not_a_shard(tmp_path, draw):
    for number, name in enumerate(["cat", "dog"]):
        draw(tmp_path / name / "a.png", number)
    (tmp_path / "backup.tar.gz").write_bytes(b"\x1f\x8b")
    records = read_records(tmp_path)
    assert len(records) == 2
    assert records.account.skipped(OTHERS) == (str(tmp_path / "backup.tar.gz"),)
