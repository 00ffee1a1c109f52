"""Images as text in cells, in every format with texts."""

import base64
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from craft.data.readers import DataError, read_records

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")


def table(path, cells):
    """Cells with images, each of a different class."""
    rows = [{"image": cell, "label": f"class {i}"} for i, cell in enumerate(cells)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(["image", "label"])]
        lines += [mark.join([f'"{row["image"]}"', row["label"]]) for row in rows]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_base64_is_decoded(tmp_path, draw, kind, before):
    files = [draw(tmp_path / f"{i}.png", i) for i in range(2)]
    cells = [before + base64.b64encode(file.read_bytes()).decode() for file in files]
    records = read_records(table(tmp_path / f"d.{kind}", cells))
    assert [r.image.read() for r in records] == [file.read_bytes() for file in files]
    assert [r.rgb().size for r in records] == [(30, 20)] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: "data:image/png;base64," + text[:-6] + "*!", "base64 of .* is damaged"),
        (lambda text: "data:image/png," + text, "an image after data: must be in base64"),
        (lambda text: "https://a.example/" + text, "the image is a link"),
        (lambda text: base64.b64encode(os.urandom(3000)).decode(), "not an image: 3000 bytes"),
    ],
)
def test_mistakes_are_reported_briefly_with_the_row(tmp_path, draw, kind, spoil, complaint):
    good = base64.b64encode(draw(tmp_path / "a.png").read_bytes()).decode()
    path = table(tmp_path / f"d.{kind}", [good, spoil(good)])
    with pytest.raises(DataError, match=complaint) as error:
        [record.rgb() for record in read_records(path)]
    where = {"parquet": ", row 1", "json": ":1, entry 2", "jsonl": ":2"}.get(kind, ":3")
    assert str(error.value).startswith(f"{path}{where}: ")
    assert len(str(error.value)) < len(str(path)) + 300
    assert good[:70] not in str(error.value)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_cells_may_be_longer_than_the_csv_module_allows(tmp_path, kind):
    file = tmp_path / "noise.png"
    Image.frombytes("RGB", (250, 200), os.urandom(150_000)).save(file)
    cell = base64.b64encode(file.read_bytes()).decode()
    assert len(cell) > 131_072
    (record,) = read_records(table(tmp_path / f"d.{kind}", [cell]))
    assert record.image.read() == file.read_bytes()
