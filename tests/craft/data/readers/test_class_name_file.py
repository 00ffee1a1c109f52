"""The file of --class-names: a list, or a table of label and name."""

import pytest

from craft.data.readers import DataError, read_class_names

TABLE = {"0": "cat", "n07": "red panda"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", "label,name\n0,cat\nn07,red panda\n"),
        ("c.csv", '0,cat\n"n07", red panda \n\n'),
        ("c.tsv", "id\tname\n0\tcat\nn07\tred panda\n"),
        ("c.csv", "nr,name\n0,cat\nn07,red panda\n"),
        ("c.csv", "Ordner,Class Name\n0,cat\nn07,red panda\n"),
        ("c.csv", "wnid,Deutsch\n0,cat\nn07,red panda\n"),
        ("c.TSV", "0\tcat\nn07\tred panda"),
        ("c.json", '{"0": "cat", "n07": "red panda"}'),
    ],
)
def test_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == TABLE


def test_possible_class_names_are_not_a_header(tmp_path):
    (tmp_path / "c.csv").write_text("text,text\ntitle,title\nkey,door key\n")
    assert list(read_class_names(tmp_path / "c.csv")) == ["text", "title", "key"]


@pytest.mark.parametrize(
    ("name", "text"), [("c.txt", "cat\n\nred panda\n"), ("c.json", '["cat", "red panda"]')]
)
def test_lists(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == ("cat", "red panda")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("c.csv", "0,cat\n0,dog\n", "label '0' is given twice"),
        ("c.csv", "0,cat\n1\n", r"expected a label and a name, got \['1'\]"),
        ("c.csv", "0;cat\n", "expected a label and a name"),
        ("c.tsv", "0\t \n", "expected a label and a name"),
        ("c.json", '{"0": "cat", "0": "dog"}', "key '0' is given twice"),
        ("c.json", '{"0": ""}', "expected a label and a name"),
        ("c.json", '{"0": ', "cannot be read, Fault"),
        ("c.json", "3", r"expected \[\"name\""),
        ("c.txt", "", "the file is empty"),
        ("c.txt", "version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
    ],
)
def test_mistakes(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=complaint) as error:
        read_class_names(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
