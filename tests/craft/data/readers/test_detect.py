"""Which formats are detected, and what is refused as ambiguous."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.readers import DataError, ReadOptions, detect, image_folder, read_records
from craft.data.readers.detect import BESIDE, UNNAMED
from craft.data.readers.parts_in_paths import ELSEWHERE
from craft.data.readers.rows import NO_IMAGE
from craft.data.readers.walk import HIDDEN, walk


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


def test_suffixes_in_capitals_are_read(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "train.JSONL").write_text('{"image": "a.png", "label": "x", "id": "1"}\n')
    (tmp_path / "test.jsonl").write_text('{"image": "a.png", "label": "y", "id": "2"}\n')
    assert read_records(tmp_path).split_counts == {"train": 1, "test": 1}


def test_a_compressed_split_is_read(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("image,label\na.png,x\n")
    (tmp_path / "test.csv.gz").write_bytes(gzip.compress(b"image,label\na.png,y\n"))
    assert read_records(tmp_path).split_counts == {"train": 1, "test": 1}


def test_a_table_beside_class_folders_is_refused(tmp_path, draw):
    for split in ("train", "test"):
        draw(tmp_path / split / "cat/a.png")
        draw(tmp_path / split / "dog/a.png", 3)
    (tmp_path / "labels.csv").write_text("image,label\ntrain/cat/a.png,cat\n")
    with pytest.raises(DataError, match=r"contains labels\.csv and folders of .*test/cat"):
        read_records(tmp_path)
    assert len(read_records(tmp_path, ReadOptions(format="image_folder"))) == 4


def test_images_that_no_table_names_are_reported(tmp_path, draw):
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


def labels(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = ["image", "label", "split"][: len(rows[0])]
    path.write_text("\n".join(map(",".join, [header, *rows])))
    return path


@pytest.mark.parametrize("below", ["", "images"])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_splits_in_paths_are_not_mixed_silently(tmp_path, draw, below, whole_folder):
    names = ["train/x.png", "train/y.png", "test/z.png"]
    for number, name in enumerate(names):
        draw(tmp_path / below / name, number)
    path = labels(tmp_path / "labels.csv", [(name, "cat") for name in names])
    records = read_records(tmp_path if whole_folder else path)
    (warned,) = records.account.summary(3).warnings
    assert (warned.reason, warned.count) == (ELSEWHERE, 3)
    assert warned.places[2] == f"{path}:4: read as without a split"
    assert "column split" in warned.reason
    labels(path, [(name, "cat", name.split("/")[0]) for name in names])
    assert not read_records(path).account.summary(3).warnings
    labels(path, [(name, "cat", "train") for name in names])
    (warned,) = read_records(path).account.summary(3).warnings
    assert warned.places == (f"{path}:4: read as train",)


def test_a_single_split_in_all_paths_is_accepted(tmp_path, draw):
    draw(tmp_path / "train/x.png")
    path = labels(tmp_path / "labels.csv", [("train/x.png", "cat")])
    assert not read_records(path).account.summary(1).warnings


JUNK = ("._labels.csv", ".ipynb_checkpoints/labels.csv", "__MACOSX/labels.csv", "@eaDir/test.csv")


@pytest.mark.parametrize("junk", JUNK)
def test_junk_and_circular_links_beside_tables(tmp_path, draw, junk):
    draw(tmp_path / "a.png")
    labels(tmp_path / "labels.csv", [("a.png", "cat")])
    (tmp_path / junk).parent.mkdir(exist_ok=True)
    (tmp_path / junk).write_bytes(b"\0\5\x16\7")
    (tmp_path / "again").symlink_to(tmp_path)
    records = read_records(tmp_path)
    assert [r.label for r in records] == ["cat"]
    assert len(records.account.skipped(HIDDEN)) == 1
    assert records.account.skipped("links back to a folder above them") == (
        str(tmp_path / "again"),
    )


def test_a_linked_table_is_read_and_a_broken_link_named(tmp_path, draw):
    draw(tmp_path / "store/a.png")
    labels(tmp_path / "store/labels.csv", [("a.png", "cat")])
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.csv").symlink_to(tmp_path / "store/labels.csv")
    (tmp_path / "set/a.png").symlink_to(tmp_path / "store/a.png")
    with pytest.raises(DataError, match="a link out of the folder"):
        read_records(tmp_path / "set")
    linked = ReadOptions(images=tmp_path / "set")
    assert [r.split for r in read_records(tmp_path / "set", linked)] == ["train"]
    (tmp_path / "set/test.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"test\.csv: a link to a file that does not exist"):
        read_records(tmp_path / "set")


def rows_in(kind, tmp_path, draw, names, splits=None):
    """A data set whose rows name images in split folders, with or without their bytes."""
    pngs = [draw(tmp_path / "set" / name, number).read_bytes() for number, name in enumerate(names)]
    rows = [{"image": {"bytes": None, "path": name}, "label": "cat"} for name in names]
    for number, row in enumerate(rows):
        if kind.endswith("bytes"):
            row["image"] = {"bytes": pngs[number], "path": names[number]}
        if splits:
            row["split"] = splits[number]
    path = tmp_path / "set" / kind
    if kind.startswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path := path.with_suffix(".parquet"))
    elif kind.startswith("saved"):
        if kind == "saved":
            for row in rows:
                row["image"] = row["image"]["path"]
        datasets.Dataset.from_list(rows).save_to_disk(path)
        for name in names:  # its paths are relative to its own folder
            draw(path / name, names.index(name))
    else:
        with tarfile.open(path := path.with_suffix(".tar"), "w") as tar:
            for name, png, row in zip(names, pngs, rows, strict=True):
                text = {k: v for k, v in row.items() if k != "image"}
                for ending, data in (("json", json.dumps(text).encode()), ("png", png)):
                    member = tarfile.TarInfo(f"{name[:-4]}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["parquet", "parquet-bytes", "saved", "saved-bytes", "tar"])
def test_splits_in_paths_of_cells_and_members_are_reported(tmp_path, draw, kind):
    names = ["train/x.png", "train/y.png", "test/z.png"]
    where = ReadOptions(images=tmp_path / "set" if kind == "saved" else None)  # absolute paths
    records = read_records(rows_in(kind, tmp_path, draw, names), where)
    (warned,) = records.account.summary(3).warnings
    assert (warned.reason, warned.count) == (ELSEWHERE, 3)
    assert [r.rgb().size for r in records] == [(30, 20)] * 3
    parts = [name.split("/")[0] for name in names]
    said = read_records(rows_in(kind, tmp_path / "b", draw, names, parts))
    assert not said.account.summary(3).warnings
    wrong = read_records(rows_in(kind, tmp_path / "c", draw, names, ["train"] * 3))
    (warned,) = wrong.account.summary(3).warnings
    assert warned.count == 1


def test_a_folder_is_walked_once(tmp_path, draw, monkeypatch):
    draw(tmp_path / "table/images/a.png")
    draw(tmp_path / "table/images/more.png")
    labels(tmp_path / "table/labels.csv", [("a.png", "cat")])
    draw(tmp_path / "folder/cat/a.png")
    draw(tmp_path / "folder/cat/._a.png", 1)
    roots = []
    for module in (detect, image_folder):
        monkeypatch.setattr(
            module, "walk", lambda root, account: roots.append(root) or walk(root, account)
        )
    records = read_records(tmp_path / "table")
    assert roots == [tmp_path / "table"]
    assert records.account.summary(1).warnings[0].reason == UNNAMED
    for options in (ReadOptions(), ReadOptions(format="image_folder")):
        roots.clear()
        records = read_records(tmp_path / "folder", options)
        assert roots == [tmp_path / "folder"]
        assert len(records.account.skipped(HIDDEN)) == 1


def failing(kind, tmp_path, draw):
    """Data with something to skip before reading fails."""
    root = tmp_path / kind
    if kind == "image_folder":
        draw(root / "cat/a.png")
        draw(root / "cat/._a.png", 1)
        (root / "dog").mkdir()
    elif kind == "detection":
        draw(root / ".hidden/a.png")
    elif kind == "hf_disk":
        png = draw(tmp_path / "a.png").read_bytes()
        rows = [{"image": None, "label": "cat"}, {"image": {"bytes": png}, "label": ""}]
        datasets.Dataset.from_list(rows).save_to_disk(root)
    return root


@pytest.mark.parametrize("kind", ["image_folder", "detection", "hf_disk"])
def test_what_was_skipped_is_known_when_reading_fails(tmp_path, draw, kind):
    with pytest.raises(DataError) as error:
        read_records(failing(kind, tmp_path, draw))
    assert error.value.account is not None
    (tally,) = error.value.account.skipped
    assert (tally.count, tally.reason) == (1, NO_IMAGE if kind == "hf_disk" else HIDDEN)
