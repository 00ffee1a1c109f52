"""JSON and YAML that Python's parsers would accept and misread."""

import json

import pytest

from craft.runtime.json_cards import read_json
from craft.runtime.stored_files import StoredFileError
from craft.runtime.strict_text import Fault, parse_json
from craft.runtime.yaml_files import parse_yaml, read_yaml
from craft.settings.reading import laser_settings, read_settings

BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{chr(n + 1)}: &{chr(n + 1)} [{','.join([f'*{chr(n)}'] * 9)}]" for n in range(97, 105)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "b": {"k": 1, "k": 2}}', "key 'k' is given twice"),
        (b'{"a": {"b": [0, NaN]}}', r"a\.b\[1\]: nan is no finite number"),
        (b'{"a": -Infinity}', "a: -inf is no finite number"),
        (b'{"a": 1e999}', "a: inf is no finite number"),
        (b'{"a": 123456789012345678901234567890}', "a: an integer beyond 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "limit"),
        (b'{"a": "\\ud800"}', "a: holds half a character"),
        (b'{"\\ud800": 1}', "a key: holds half a character"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64"),
        (b"[" * 200_000, "nested deeper than 64"),
        (b'{"a":' * 200_000, "nested deeper than 64"),
        ('{"a": 1}'.encode("utf-16"), "begins as UTF-16"),
        ('{"a": 1}'.encode("utf-8-sig"), "begins as a byte order mark"),
        ('{"a": "é"}'.encode("latin-1"), "byte 7 is 0xe9, which is not UTF-8"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": 01}', "Expecting"),
    ],
)
def test_json_that_is_refused(tmp_path, text, message):
    path = tmp_path / "card.json"
    path.write_bytes(text)
    with pytest.raises(StoredFileError, match=message) as error:
        read_json(path, "a card")
    assert str(error.value).startswith(f"{path}, a card, is not valid JSON (")
    assert "\n" not in str(error.value)
    str(error.value).encode()  # can be printed


def test_json_comes_back_as_it_is():
    value = {"a": [1, -1.5, None, True, "é\n"], "b": {"c": {}}, "d": 2**63 - 1, "e": -(2**63)}
    assert parse_json(json.dumps(value)) == value
    deep = json.loads("[" * 64 + "]" * 64)
    assert parse_json(json.dumps(deep)) == deep


def test_other_libraries_may_write_what_json_does_not_have():
    text = b'{"model_max_length": 1000000000000000019884624838656, "limit": Infinity}'
    assert parse_json(text, foreign=True) == {"model_max_length": int(1e30), "limit": float("inf")}
    with pytest.raises(Fault, match="twice"):
        parse_json('{"a": 1, "a": 2}', foreign=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 1\nsteps: 2\nlr: 2", "line 3: key 'lr' is given twice"),
        ("checkpoint: {every: 1, every: 2}", "line 1: key 'every' is given twice"),
        ("lr: .nan", "lr: nan is no finite number"),
        ("checkpoint: {every: [1, -.INF]}", r"checkpoint\.every\[1\]: -inf is no finite number"),
        (f"lr: {'9' * 5000}", "limit"),
        (f"lr: {'9' * 50}", "lr: an integer beyond 64 bits"),
        ("lr: 2020-01-01", "lr: a date, which has no meaning here"),
        ("lr: 2020-99-99", "month must be in"),
        ("lr: !!python/object/apply:os.system [ls]", "line 1: tags such as"),
        ("lr: !!binary eA==", "line 1: tags such as"),
        ("lr: !!timestamp x", "line 1: tags such as"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases are not read"),
        ("a: &x [*x]", "anchors and aliases"),
        ("<<: *x", "anchors and aliases"),
        (BOMB, "anchors and aliases"),
        ("a: " + "[" * 70 + "]" * 70, "nested deeper than 64"),
        ("a: " + "[" * 30_000, "nested deeper than 64"),
        ('a: "\\ud800"', "half a character"),
        ("? [a]\n: 1", "line 1"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("a: [1", "line 1"),
        ("\0", "special characters are not allowed"),
        ("a:\n\t- 1", "line 2"),
    ],
)
def test_yaml_that_is_refused(tmp_path, text, message):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(StoredFileError, match=message) as error:
        read_yaml(path, "settings")
    assert str(error.value).startswith(f"{path}, settings, cannot be read: ")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        read_settings("craft", path)


def test_yaml_comes_back_as_it_is(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("")
    assert read_yaml(path, "settings") == {}
    for encoding in ("utf-8", "utf-8-sig"):  # the latter as written by Windows editors
        path.write_text("a: {b: [1, x, 0.5, null, true]}\né: ü\n", encoding=encoding)
        assert read_yaml(path, "settings") == {"a": {"b": [1, "x", 0.5, None, True]}, "é": "ü"}
    path.write_text("a: 1", encoding="utf-16")
    with pytest.raises(StoredFileError, match="it begins as UTF-16"):
        read_yaml(path, "settings")
    path.write_text("- 1")
    with pytest.raises(StoredFileError, match="must hold KEY: VALUE, got list"):
        read_yaml(path, "settings")
    path.write_text("# " + "x" * 100_000)
    with pytest.raises(StoredFileError, match="expected at most 65536"):
        read_yaml(path, "settings")
    assert parse_yaml("1") == 1


@pytest.mark.parametrize("value", [".nan", ".inf", "-1e999", "9" * 40, "!!float 1", "&a 1", "*a"])
def test_values_on_the_command_line_are_read_alike(value):
    for read, key in ((lambda x: read_settings("craft", None, x), "lr"), (laser_settings, "top")):
        with pytest.raises(ValueError, match=f"--set {key}=") as error:
            read([f"{key}={value}"])
        assert "\n" not in str(error.value)
