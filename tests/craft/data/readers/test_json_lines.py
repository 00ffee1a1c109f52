"""JSON with line numbers, which are right for valid and malformed files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft.data.readers.json_lines import read_objects
from craft.data.readers.record import DataError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3),
    max_leaves=5,
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=4)


@given(objects, st.sampled_from([None, 0, 1, 3]))
def test_a_list_is_read_as_the_json_module_reads_it(tmp_path_factory, entries, indent):
    path = tmp_path_factory.mktemp("json") / "d.json"
    text = json.dumps(entries, indent=indent)
    path.write_text(text, encoding="utf-8")
    found = list(read_objects(path, path.read_text(encoding="utf-8")))
    assert [entry for _, entry in found] == json.loads(text)
    for place, _ in found:
        assert "{" in text.splitlines()[(place.line or 0) - 1]


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3, "malformed JSON at column 7"),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3, "expected , or ]"),
        ('[\n{"a": 1},\n', 3, "malformed JSON"),
        ('[\n{"a": 1}', 2, "the end of the file"),
        ('[\n{"a": 1},\n]', 2, "a comma after the last entry"),
        ('[{"a": 1}]\n[]', 2, "more after the list"),
        ('[\n{"a": 1},\n{"a": 1, "b": 2, "a": 3}]', 3, "key 'a' is given twice"),
        ('{"a": 1}', 1, r"expected a list \[...\]"),
        ('[\n{"a": 1},\n7]', 3, r"expected an object \{...\}, got 7"),
    ],
)
def test_malformed_json_is_reported_with_its_line(tmp_path, text, line, complaint):
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(DataError, match=complaint) as error:
        list(read_objects(path, path.read_text(encoding="utf-8")))
    assert str(error.value).startswith(f"{path}:{line}: ")


def test_a_key_given_twice_is_reported_with_its_line(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"a": 1}\n{"a": {"label": 1, "label": 2}}\n')
    with pytest.raises(DataError, match=r"d\.jsonl:2: .*key 'label' is given twice"):
        list(read_objects(path, path.read_text(encoding="utf-8")))


def test_entries_on_the_same_line_are_numbered(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('[{"a": 1}, {"a": 2},\n{"a": 3}]')
    assert [str(place) for place, _ in read_objects(path, path.read_text(encoding="utf-8"))] == [
        f"{path}:1",
        f"{path}:1, entry 2",
        f"{path}:2",
    ]
