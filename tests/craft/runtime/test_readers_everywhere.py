"""Every user file is read by the strict parsers of strict_text."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from craft.data.domains.building import make_manifest
from craft.data.domains.manifest import DomainManifest
from craft.data.readers import read_records
from craft.data.readers.class_name_file import read_class_names
from craft.errors import CraftError
from craft.evaluation.results import EvaluationResults
from craft.runtime.json_cards import read_json_lines
from craft.runtime.stored_files import StoredFileError
from craft.runtime.yaml_files import parse_yaml, read_yaml, yaml_text
from craft.workbench.run_directory import MARKER, require_run_directory

ROOT = Path(__file__).parents[3] / "craft"
#: What reads by the json and yaml modules themselves, and why it may.
ALLOWED = {
    "runtime/strict_text.py": "the reader itself",
    "runtime/yaml_files.py": "the reader itself",
    "runtime/json_cards.py": "its own output, for a checksum",
    "runtime/stored_tensors.py": "a header that safetensors has accepted",
    "runtime/whole_file.py": "a header that safetensors has written",
    "runtime/own_process.py": "what a process of ours has printed",
    "pocket/build/packages.py": "packages of a fixed hash",
    "evaluation/judge": "answers of a server, line by line",
    "data/readers": "records of a user's data, with their place",
}
READING = {"load", "loads", "safe_load", "full_load", "unsafe_load", "load_all", "read_json"}


def readers_in(source: str) -> list[str]:
    """Calls that read JSON or YAML without the strict parsers."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        call, name = ast.unparse(node.func), node.func.attr
        by_name = name in ("model_validate_json", "parse_raw", "raw_decode")
        if by_name or (call.startswith(("json.", "yaml.", "pd.")) and name in READING):
            found.append(call)
    return found


def test_the_search_finds_what_it_looks_for():
    source = "json.loads(x); yaml.safe_load(x); A.model_validate_json(x); json.dumps(x)"
    assert readers_in(source) == ["json.loads", "yaml.safe_load", "A.model_validate_json"]


def test_files_are_read_in_one_place():
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if not any(name == known or name.startswith(f"{known}/") for known in ALLOWED):
            assert not readers_in(path.read_text()), f"{name}: use json_cards or yaml_files"


def one_line(error: pytest.ExceptionInfo[CraftError], path: Path) -> None:
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


FAULTS = [
    (lambda text: text.replace('"format"', '"format": 1, "format"', 1), "'format' is given twice"),
    (lambda text: text.replace("{", '{"more": NaN, ', 1), "more: nan is no finite number"),
    (lambda text: text.replace("{", '{"more": ' + "[" * 5000 + ", ", 1), "nested|Expecting"),
    (lambda text: "﻿" + text, "byte order mark"),
    (lambda text: "[1]", "holds a JSON list, expected an object"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_results(tmp_path, fault, message):
    path = tmp_path / "results.json"
    path.write_text(fault('{"command": "evaluate", "format": 1, "versions": {}}'))
    with pytest.raises(CraftError, match=message) as error:
        EvaluationResults.load(tmp_path)
    one_line(error, path)


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_domain_manifests(tmp_path, class_folder, fault, message):
    path = tmp_path / "domain.json"
    make_manifest(read_records(class_folder)).save(path)
    path.write_text(fault(path.read_text()))
    with pytest.raises(CraftError, match=message) as error:
        DomainManifest.load(path)
    one_line(error, path)


def test_class_names_given_twice(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"0": "cat", "0": "dog"}')
    with pytest.raises(CraftError, match="'0' is given twice") as error:
        read_class_names(path)
    one_line(error, path)


@pytest.mark.parametrize(
    "text", ["command: adapt\ncommand: align", "command: [", "a: &a 1\ncommand: *a", "- adapt"]
)
def test_notes_of_runs(tmp_path, text):
    """A damaged note is neither ignored nor a reason to get stuck."""
    (tmp_path / MARKER).write_text(text)
    (tmp_path / "pack.json").write_text("{}")
    for resume in (None, True):
        with pytest.raises(CraftError, match=r"the note of an earlier run, ") as error:
            require_run_directory(tmp_path, "adapt", resume=resume)
        one_line(error, tmp_path / MARKER)
    assert require_run_directory(tmp_path, "adapt", force=True) is False


def test_what_occurs_twice_is_written_twice(tmp_path):
    shared = [1, {"a": None}]
    content = {"x": shared, "y": shared, "z": {"x": shared}}
    assert "&" in yaml.safe_dump(content)
    assert parse_yaml(yaml_text(content)) == content
    (tmp_path / "note.yaml").write_text(yaml_text(content))
    assert read_yaml(tmp_path / "note.yaml", "a note") == content


def test_logs_line_by_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 1}\n{"loss": NaN}\n{"step": 3')
    assert [list(x) for x in read_json_lines(path, "a log", foreign=True)] == [["step"], ["loss"]]
    for line in ("[1]", "{", '{"a": 1, "a": 2}', json.dumps([[]] * 3)):
        path.write_text(f'{{"step": 1}}\n{line}\n')
        with pytest.raises(StoredFileError, match=r"train\.jsonl:2, a log, is damaged: ") as error:
            list(read_json_lines(path, "a log"))
        one_line(error, path)
