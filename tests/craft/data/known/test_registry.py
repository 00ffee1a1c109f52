"""The ten data sets, on small stand-ins with their layouts."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.domains.building import make_manifest
from craft.data.domains.user_data import DataRequest, reopen
from craft.data.known.registry import REGISTRY, entry_of, load_dataset
from craft.data.readers import DataError


@pytest.fixture
def png(draw, tmp_path):
    """Encoded images, a different one for every number."""

    def encode(number):
        return draw(tmp_path / f"cells/{number}.png", number).read_bytes()

    return encode


def shards(folder, parts, features=None):
    """A clone of a hub repository: one Parquet file per split under data/."""
    for part, columns in parts.items():
        path = folder / "data" / f"{part}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        if features:
            noted = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": noted})
        pq.write_table(table, path)
    return folder


def cells(png, numbers):
    return [{"bytes": png(n), "path": f"{n}.png"} for n in numbers]


def sized(key, **sizes):
    return dataclasses.replace(entry_of(key), sizes=(sizes,))


def test_there_are_ten_and_their_sizes_are_the_published_ones():
    assert list(REGISTRY) == [
        "iconqa", "ocrvqa", "scienceqa", "vqarad", "eurosat",
        "flowers102", "kvasir", "plantvillage", "cars", "dogs",
    ]  # fmt: skip
    assert {k: e.sizes[0].get("classes") for k, e in REGISTRY.items() if e.kind == "classes"} == {
        "eurosat": 10, "flowers102": 102, "kvasir": 8, "plantvillage": 38, "cars": 196, "dogs": 120
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"dataset must be one of iconqa, .*got 'mnist'"):
        entry_of("mnist")


def test_the_wrong_size_is_refused_with_both_numbers(class_folder):
    with pytest.raises(
        DataError,
        match=r"kvasir should have .*'all': 4000.* found {'all': 80, 'classes': 8}.*--any",
    ):
        load_dataset(entry_of("kvasir"), class_folder)
    assert len(load_dataset(entry_of("kvasir"), class_folder, any_size=True)) == 80
    assert len(load_dataset(sized("kvasir", classes=8, all=80), class_folder)) == 80


def test_classes_are_refused_where_questions_are_expected(class_folder):
    with pytest.raises(DataError, match=r"vqarad is a data set of questions, this holds classes"):
        load_dataset(entry_of("vqarad"), class_folder)


def test_vqarad(tmp_path, png):
    columns = {"image": cells(png, [1, 2]), "question": ["a?", "b?"], "answer": ["yes", "no"]}
    folder = shards(tmp_path / "r", {"train": columns, "test": columns})
    records = load_dataset(sized("vqarad", train=2, test=2), folder)
    assert {r.turns[0].prompt for r in records} == {
        "a?\nAnswer as succinctly as possible.",
        "b?\nAnswer as succinctly as possible.",
    }
    notes = make_manifest(records).notes
    assert any("2 images are in both test and training" in note for note in notes)


def test_ocrvqa_has_lists_of_questions(tmp_path, png):
    columns = {
        "image": cells(png, [1, 2]),
        "image_id": ["x", "y"],
        "questions": [["Who wrote it?", "Genre?"], ["Title?"]],
        "answers": [["A. Writer", "Travel"], ["The Book"]],
        "title": ["t", "u"],
        "genre": ["g", "h"],
        "set_name": ["1", "1"],
    }
    records = load_dataset(sized("ocrvqa", train=2), shards(tmp_path / "r", {"train": columns}))
    assert [[t.target for t in r.turns] for r in records] == [["A. Writer", "Travel"], ["The Book"]]
    assert records.records[0].captions == ()  # the title would reveal the answer


def test_scienceqa_leaves_out_questions_without_an_image(tmp_path, png):
    columns = {
        "image": [*cells(png, [1]), None],
        "question": ["Which?", "What?"],
        "choices": [["x", "y", "z"], ["p", "q"]],
        "answer": [2, 0],
        "hint": ["Look closely.", ""],
        "task": ["closed choice"] * 2,
        "category": ["Animals"] * 2,
    }
    folder = shards(tmp_path / "r", {"train": columns})
    (record,) = load_dataset(sized("scienceqa", train=1), folder)
    assert record.turns[0].prompt == (
        "Context: Look closely.\nWhich?\nA. x\nB. y\nC. z\nAnswer in one letter only."
    )
    assert record.turns[0].target == "C"


def test_iconqa_from_the_hub_keeps_questions_with_one_image(tmp_path, png):
    columns = {
        "question_id": ["1", "2", "3"],
        "question": ["Turn or flip?", "How many?", "Which picture?"],
        "choices": ["turn, flip", "", "choice_0.png,choice_1.png"],
        "answer": ["flip", "7", "choice_0.png"],
        "query_image": cells(png, [1, 2, 3]),
        "ques_type": ["choose_txt", "fill_in_blank", "choose_img"],
        "label": ["S2"] * 3,
    }
    records = load_dataset(entry_of("iconqa"), shards(tmp_path / "r", {"val": columns}))
    assert [(r.id, r.turns[0].target) for r in records] == [("1", "B"), ("2", "7")]


def test_iconqa_from_its_authors_folders(tmp_path, draw):
    root = tmp_path / "iconqa"
    for kind, data in {
        "choose_txt/11": {"question": "Turn?", "choices": ["turn", "flip"], "answer": 1},
        "fill_in_blank/12": {"question": "How many?", "answer": "7"},
        "choose_img/13": {"question": "Which?", "choices": ["a.png"], "answer": 0},
    }.items():
        draw(root / "train" / kind / "image.png", int(kind[-2:]))
        (root / "train" / kind / "data.json").write_text(json.dumps(data))
    records = load_dataset(sized("iconqa", train=2), root)
    assert [(r.split, r.turns[0].target) for r in records] == [("train", "B"), ("train", "7")]
    (root / "train/fill_in_blank/12/image.png").unlink()
    with pytest.raises(DataError, match=r"12/data.json:1: no image"):
        load_dataset(sized("iconqa", train=2), root)


def hub_clone(tmp_path, png, names, per_class=3, parts=("train", "test")):
    features = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    columns = {
        part: {
            "image": cells(
                png, [1000 * p + 10 * c + i for c in range(len(names)) for i in range(per_class)]
            ),
            "label": [c for c in range(len(names)) for _ in range(per_class)],
        }
        for p, part in enumerate(parts)
    }
    return shards(tmp_path / "clone", columns, features)


@pytest.mark.parametrize(
    ("key", "labels", "spoken"),
    [
        ("eurosat", ["AnnualCrop", "SeaLake"], ["annual crop", "sea lake"]),
        ("cars", ["AM General Hummer SUV 2000", "Audi R8 Coupe 2012"], None),
        ("flowers102", ["1", "10"], ["pink primrose", "globe thistle"]),
        ("flowers102", ["fire lily", "colt's foot"], ["colt's foot", "fire lily"]),
        ("dogs", ["n02085620-Chihuahua", "n02086240-Shih-Tzu"], ["Chihuahua", "Shih-Tzu"]),
        ("plantvillage", ["Apple___Scab", "Corn___healthy"], ["apple scab", "corn healthy"]),
        ("kvasir", ["normal-cecum", "polyps"], ["normal cecum", "polyps"]),
    ],
)  # fmt: skip
def test_classes_get_names_for_questions(tmp_path, png, key, labels, spoken):
    folder = hub_clone(tmp_path, png, labels)
    entry = sized(key, classes=2, train=6, test=6)
    records = load_dataset(entry, folder)
    names = entry.names(records)
    assert [names[label] for label in records.labels] == (spoken or sorted(labels))


def test_flowers_are_a_hundred_and_two_different_names():
    assert len({entry_of("flowers102").naming(str(i)) for i in range(1, 103)}) == 102
    assert entry_of("flowers102").naming("102") == "blackberry lily"


def test_a_hub_repository_through_the_datasets_library(tmp_path, png, monkeypatch):
    """A local clone replaces the repository: the library loads both the same way."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    labels = ["AnnualCrop", "Forest", "Highway", "River", "SeaLake"]
    clone = hub_clone(tmp_path, png, labels, 4, ("train", "validation", "test"))
    request = DataRequest(dataset="eurosat", hub_id=str(clone), any_size=True)
    records = request.read()
    assert records.split_counts == {"train": 20, "val": 20, "test": 20}
    assert records.records[0].rgb().size == (30, 20)
    manifest = request.manifest(records)
    assert (manifest.subject, manifest.from_hub) == ("land use", True)
    assert len(manifest.heldout) == 1
    assert len(reopen(manifest, 16).test) == 20


def test_without_a_repository_a_path_is_required():
    with pytest.raises(ValueError, match=r"kvasir has no hub repository .*give its path"):
        load_dataset(entry_of("kvasir"))


def test_corrupt_images_left_out_are_named_when_the_size_is_wrong(class_folder):
    (class_folder / "thing_aa/0.png").write_bytes(b"")
    request = DataRequest(class_folder, "kvasir")
    reading = request.reading.model_copy(update={"skip_corrupt": True})
    request = dataclasses.replace(request, reading=reading)
    with pytest.raises(DataError, match=r"1 corrupt ones left out"):
        request.read()
