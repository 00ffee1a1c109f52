"""A data set may only name files inside it, unless the user says where images are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.readers import DataError, ReadOptions, read_records

SECRET = "s3cr3t"


@pytest.fixture
def outside(tmp_path, draw):
    """An image and a text outside the data set."""
    draw(tmp_path / "private/a.png")
    (tmp_path / "private/notes.csv").write_text(f"image,label\n{SECRET}\n\n{SECRET},{SECRET}\n")
    (tmp_path / "set").mkdir()
    draw(tmp_path / "set/images/own.png", 3)
    return tmp_path / "private"


def table(tmp_path, image, name="set/train.csv"):
    path = tmp_path / name
    if path.suffix == ".csv":
        path.write_text(f"image,label\n{image},cat\n")
    else:
        turns = [{"from": "human", "value": "<image>\nA?"}, {"from": "gpt", "value": "B"}]
        path.write_text(json.dumps([{"id": "1", "image": image, "conversations": turns}]))
    return path


@pytest.mark.parametrize("name", ["set/train.csv", "set/train.json"])
@pytest.mark.parametrize("image", ["../private/a.png", "images/../../private/a.png", "absolute"])
def test_a_table_does_not_read_images_elsewhere(tmp_path, outside, name, image):
    image = str(outside / "a.png") if image == "absolute" else image
    path = table(tmp_path, image, name)
    with pytest.raises(DataError, match=r":\d: image .* leads out of .*set; .*--images"):
        read_records(path)
    with pytest.raises(DataError, match="leads out of"):
        read_records(path, ReadOptions(images=tmp_path / "set" / "images"))


def test_links_in_the_folder_of_a_table_are_resolved(tmp_path, outside):
    (tmp_path / "set/linked").symlink_to(outside)
    path = table(tmp_path, "linked/a.png")
    with pytest.raises(DataError, match="leads out of"):
        read_records(path)
    (record,) = read_records(path, ReadOptions(images=tmp_path / "set"))
    assert record.image.read() == (outside / "a.png").read_bytes()


def test_the_user_can_say_where_images_are(tmp_path, outside):
    for image in ("../private/a.png", str(outside / "a.png"), "private/a.png"):
        (record,) = read_records(table(tmp_path, image), ReadOptions(images=tmp_path))
        assert record.image.read() == (outside / "a.png").read_bytes()


@pytest.mark.parametrize("image", ["~/a.png", "images\\own.png", "C:\\a.png"])
def test_other_spellings_lead_nowhere(tmp_path, outside, image):
    with pytest.raises(DataError, match="no image"):
        read_records(table(tmp_path, image, "set/train.json"))


def test_paths_in_a_folder_of_its_own_still_work(tmp_path, outside):
    for image in ("own.png", "images/own.png", "../set/images/own.png"):
        (record,) = read_records(table(tmp_path, image))
        assert record.image.read() == (tmp_path / "set/images/own.png").read_bytes()


@pytest.mark.parametrize("kind", ["path", "struct"])
def test_parquet_cells_do_not_read_files_elsewhere(tmp_path, outside, kind):
    for number, name in enumerate(("../private/notes.csv", str(outside / "a.png"))):
        path = tmp_path / f"set/train-{number}.parquet"
        cell = name if kind == "path" else {"bytes": None, "path": name}
        pq.write_table(pa.table({"image": [cell], "label": ["cat"]}), path)
        (record,) = read_records(path)
        with pytest.raises(DataError, match="leads out of") as error:
            record.rgb()
        assert SECRET not in str(error.value)
        assert "(--images)" in str(error.value)
    (record,) = read_records(path, ReadOptions(images=outside))
    assert record.rgb().size == (30, 20)


@pytest.mark.parametrize("note", ["state.json", "dataset_dict.json"])
def test_saved_data_sets_name_no_files_elsewhere(tmp_path, note):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"image": [b"x"], "label": ["a"]})
    made.save_to_disk(str(tmp_path / "other"))
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "set"))
    if note == "state.json":
        path = tmp_path / "set/train/state.json"
        content = json.loads(path.read_text())
        (file,) = content["_data_files"]
        file["filename"] = f"../../other/{file['filename']}"
    else:
        path, content = tmp_path / "set/dataset_dict.json", {"splits": ["../other"]}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="leads out of"):
        read_records(tmp_path / "set")


def test_errors_show_nothing_of_a_file_that_a_link_leads_to(tmp_path, outside):
    link = tmp_path / "set/train.csv"
    link.symlink_to(outside / "notes.csv")
    with pytest.raises(DataError, match=r"train\.csv.*nothing of it is shown") as error:
        read_records(tmp_path / "set")
    assert SECRET not in str(error.value)
    with pytest.raises(DataError, match=SECRET):  # the user names the file itself
        read_records(link)
    link.unlink()
    (outside / "notes.json").write_text(f'[{{"image": "{SECRET}" {SECRET}')
    (tmp_path / "set/train.json").symlink_to(outside / "notes.json")
    with pytest.raises(DataError, match="nothing of it is shown") as error:
        read_records(tmp_path / "set")
    assert SECRET not in str(error.value)
