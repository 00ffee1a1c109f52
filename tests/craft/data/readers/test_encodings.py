"""Tables with compression, other delimiters and other encodings."""

import gzip
import json

import pytest

from craft.data.readers import DataError, read_records

LABELS = "image,label\na.png,cat\nb.png,dog\n"
ROWS = [{"image": "a.png", "label": "cat"}, {"image": "b.png", "label": "dog"}]
TEXTS = {
    "csv": LABELS,
    "tsv": LABELS.replace(",", "\t"),
    "json": json.dumps(ROWS),
    "jsonl": "\n".join(map(json.dumps, ROWS)),
}


@pytest.fixture
def folder(tmp_path, draw):
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "b.png", 2)
    return tmp_path


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", ["labels.{}.gz", "LABELS.{}.GZ"])
def test_compressed_tables(folder, kind, name):
    path = folder / name.format(kind)
    path.write_bytes(gzip.compress(TEXTS[kind].encode()))
    records = read_records(path)
    assert [r.label for r in records] == ["cat", "dog"]
    assert str(records.records[1].place).startswith(f"{path}:")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="check that the file is complete"):
        read_records(path)


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("|", "bars"), ("\t", None)])
def test_the_delimiter_is_found(folder, mark, name):
    path = folder / "labels.csv"
    path.write_text(LABELS.replace(",", mark))
    records = read_records(path)
    assert [r.label for r in records] == ["cat", "dog"]
    if name:
        assert f"fields are separated by {name}" in records.notes


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_unknown_columns_are_not_called_a_missing_header(folder, mark):
    path = folder / "labels.csv"
    path.write_text(mark.join(["picture", "kind"]) + "\n" + mark.join(["a.png", "cat"]) + "\n")
    with pytest.raises(DataError, match=r"no column has a known name.*\['picture', 'kind'\]"):
        read_records(path)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(
    ("encoding", "told"),
    [("latin-1", "WINDOWS-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16")],
)
def test_other_encodings_are_named_with_the_way_out(folder, kind, encoding, told):
    path = folder / f"labels.{kind}"
    text = TEXTS[kind].replace("dog", "café")
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=rf"labels\.{kind}:\d: not UTF-8.*iconv -f {told} -t UTF-8"):
        read_records(path)
    path.write_bytes(text.encode("utf-8-sig"))
    assert [r.label for r in read_records(path)] == ["cat", "café"]
