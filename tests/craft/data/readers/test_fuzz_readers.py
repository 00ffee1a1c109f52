"""Damaged data is read with all its records, or soon refused with one line that has its path."""

import base64
import contextlib
import gzip
import io
import json
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.readers import DataError, read_class_names, read_records
from craft.data.readers.rows import NO_IMAGE
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped

NAMES = ["cat", "dog", "eel", "fox"]


@pytest.fixture
def pngs(tmp_path, draw):
    return [draw(tmp_path / f"images/{i}.png", i).read_bytes() for i in range(4)]


def labelled():
    return [
        {"id": f"r{i}", "image": f"images/{i}.png", "label": n, "split": "train"}
        for i, n in enumerate(NAMES)
    ]


def asked():
    return [
        {"id": i, "image": f"images/{i}.png", "question": "Which?", "choices": NAMES, "answer": n}
        for i, n in enumerate(NAMES)
    ]


def talks():
    return [
        {
            "id": f"r{i}",
            "image": f"images/{i}.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhich?"},
                {"from": "gpt", "value": n},
            ],
        }
        for i, n in enumerate(NAMES)
    ]


def inline(pngs):
    return [
        {"image": base64.b64encode(png).decode(), "label": n}
        for png, n in zip(pngs, NAMES, strict=True)
    ]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows, mark):
    cells = [list(rows[0]), *(map(str, row.values()) for row in rows)]
    return "".join(mark.join(row) + "\n" for row in cells)


def fuzz_records(path, rounds, damage, root=None, *, counted=True):
    """Args: ``counted``: the format tells the number of records even if it is truncated."""
    size = path.stat().st_size

    def read(case):
        found = read_records(root or path)
        if counted or damage is retyped or len(case) == size:
            assert len(found) + len(found.account.skipped(NO_IMAGE)) == 4
        for record in found:
            with contextlib.suppress(DataError):  # the others may be intact
                record.rgb()

    fuzz_file(path, read, rounds, damage)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
@pytest.mark.parametrize("rows", [labelled, asked, talks], ids=lambda rows: rows.__name__)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json(tmp_path, pngs, ending, rows, damage, rounds):
    path = tmp_path / f"d.{ending}"
    path.write_text(json.dumps(rows(), indent=1) if ending == "json" else lines(rows()))
    fuzz_records(path, rounds, damage, counted=ending == "json")


@ROUNDS
def test_images_in_json(tmp_path, pngs, rounds):
    path = tmp_path / "d.jsonl"
    path.write_text(lines(inline(pngs)))
    fuzz_records(path, rounds, damaged, counted=False)


@ROUNDS
@pytest.mark.parametrize("rows", [labelled, asked], ids=lambda rows: rows.__name__)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables(tmp_path, pngs, ending, rows, rounds):
    path = tmp_path / f"d.{ending}"
    content = [{k: v for k, v in row.items() if k != "choices"} for row in rows()]
    path.write_text(table(content, "," if ending == "csv" else "\t"))
    fuzz_records(path, rounds, damaged, counted=False)


@ROUNDS
@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_parquet(tmp_path, pngs, compression, checksums, rounds):
    noted = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}
    content = pa.table({"image": pngs, "label": range(4)})
    content = content.replace_schema_metadata({"huggingface": json.dumps(noted)})
    path = tmp_path / "d.parquet"
    pq.write_table(content, path, 2, compression=compression, write_page_checksum=checksums)
    fuzz_records(path, rounds, damaged)


@ROUNDS
@pytest.mark.parametrize("kind", ["cls", "json"])
def test_webdataset(tmp_path, pngs, kind, rounds):
    path = tmp_path / "d.tar"
    with tarfile.open(path, "w") as tar:
        for i, png in enumerate(pngs):
            text = NAMES[i] if kind == "cls" else json.dumps({"question": "?", "answer": NAMES[i]})
            for name, data in ((f"{i}.{kind}", text.encode()), (f"{i}.png", png)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    fuzz_records(path, rounds, damaged)


@ROUNDS
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", damaged),
        ("state.json", retyped),
        ("dataset_info.json", damaged),
        ("dataset_info.json", retyped),
        ("data-00000-of-00001.arrow", damaged),
    ],
)
def test_saved_data_sets(tmp_path, pngs, name, damage, rounds):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    content = {"image": [{"bytes": png, "path": None} for png in pngs], "label": range(4)}
    root = tmp_path / "saved"
    datasets.Dataset.from_dict(content, features=features).save_to_disk(root)
    fuzz_records(root / name, rounds, damage, root)


@ROUNDS
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_compressed_tables(tmp_path, pngs, ending, rounds):
    """gzip has a checksum, so damage that passes it is not in the content."""
    path = tmp_path / f"d.{ending}.gz"
    text = table(labelled(), ",") if ending == "csv" else lines(labelled())
    path.write_bytes(gzip.compress(text.encode()))
    fuzz_records(path, rounds, damaged)


@ROUNDS
def test_images_in_csv(tmp_path, pngs, rounds):
    path = tmp_path / "d.csv"
    path.write_text(table(inline(pngs), ","))
    fuzz_records(path, rounds, damaged, counted=False)


@ROUNDS
@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_webdataset_with_long_names(tmp_path, pngs, kind, rounds):
    path = tmp_path / "d.tar"
    form = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}[kind]
    with tarfile.open(path, "w", format=form) as tar:
        for i, png in enumerate(pngs):
            for name, data in (
                (f"{'n' * 120}{i}.cls", NAMES[i].encode()),
                (f"{'n' * 120}{i}.png", png),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def read(case):
        for record in read_records(path):
            with contextlib.suppress(DataError):
                record.rgb()

    fuzz_file(path, read, rounds)


@ROUNDS
@pytest.mark.parametrize("ending", ["csv", "json", "txt"])
def test_class_names(tmp_path, ending, rounds):
    path = tmp_path / f"names.{ending}"
    texts = {
        "csv": "label,name\n" + "".join(f"{i},{n}\n" for i, n in enumerate(NAMES)),
        "json": json.dumps(dict(enumerate(NAMES))),
        "txt": "\n".join(NAMES),
    }
    path.write_text(texts[ending])

    def read(case):
        names = read_class_names(path)
        assert all(isinstance(name, str) and name.strip() == name for name in names)

    fuzz_file(path, read, rounds)
