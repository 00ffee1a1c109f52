"""What a command may overwrite and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from craft.errors import CraftError
from craft.workbench import outputs, run_directory
from craft.workbench.outputs import require_new_file
from craft.workbench.run_directory import FORMAT, MARKER, RunNote


def noted(directory: Path) -> int:
    note = RunNote.load(directory)
    assert note is not None
    return note.ran_with["n"]


def open_run_directory(*args: Any, **kwargs: Any) -> bool:
    """Open a run directory as a command that ends at once."""
    try:
        return run_directory.open_run_directory(*args, **kwargs)
    finally:
        outputs.release_directories()


def test_new_and_empty_directories_are_taken(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    assert not open_run_directory(out, {"command": "demo"}, resume=True)
    assert RunNote.load(out) == RunNote(format=FORMAT, command="demo", ran_with={})
    (tmp_path / "empty").mkdir()
    open_run_directory(tmp_path / "empty", {"command": "demo"})


def test_a_run_that_left_only_notes_may_start_over(tmp_path: Path) -> None:
    open_run_directory(tmp_path, {"command": "adapt", "n": 1}, resume=False)
    (tmp_path / "config.yaml").write_text("")
    open_run_directory(tmp_path, {"command": "adapt", "n": 2}, resume=False)
    assert noted(tmp_path) == 2


def test_an_earlier_run_is_resumed_or_replaced_only_if_asked(tmp_path: Path) -> None:
    open_run_directory(tmp_path, {"command": "adapt", "n": 1})
    (tmp_path / "pack.json").write_text("hours of work")
    said = "holds an earlier run of `craft adapt`; choose another directory, --resume auto to"
    with pytest.raises(CraftError, match=said + r" resume that run, or --force to replace it$"):
        open_run_directory(tmp_path, {"command": "adapt", "n": 2}, resume=False)
    with pytest.raises(CraftError, match=r"choose another directory, or --force to replace it$"):
        open_run_directory(tmp_path, {"command": "adapt", "n": 2})
    # A resumed run keeps its first note.
    assert open_run_directory(tmp_path, {"command": "adapt", "n": 2}, resume=True)
    assert noted(tmp_path) == 1
    assert not open_run_directory(tmp_path, {"command": "adapt", "n": 3}, force=True)
    assert noted(tmp_path) == 3
    assert (tmp_path / "pack.json").exists()


@pytest.mark.parametrize("resume", [None, False, True])
def test_another_commands_run_is_safe(resume: bool | None, tmp_path: Path) -> None:
    open_run_directory(tmp_path, {"command": "adapt"})
    (tmp_path / "pack.json").write_text("")
    note = (tmp_path / MARKER).read_text()
    with pytest.raises(CraftError, match=r"holds what `craft adapt` wrote; choose another"):
        open_run_directory(tmp_path, {"command": "evaluate"}, resume=resume)
    assert (tmp_path / MARKER).read_text() == note


def test_other_peoples_files_are_safe_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(
        CraftError, match=r"not an earlier run; choose another directory, or --force"
    ):
        open_run_directory(tmp_path, {"command": "demo"}, resume=True)
    assert not (tmp_path / MARKER).exists()
    open_run_directory(tmp_path, {"command": "demo"}, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(CraftError, match="is a file; name a directory"):
        open_run_directory(path, {"command": "demo"}, force=True)
    with pytest.raises(CraftError, match=r"cannot be made: .*/file is a file"):
        open_run_directory(path / "deep" / "er", {"command": "demo"}, force=True)


def test_a_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    require_new_file(None, "--trace")
    require_new_file(path, "--trace")
    path.write_text("")
    with pytest.raises(CraftError, match=r"--trace .*trace.json exists; choose another file, or"):
        require_new_file(path, "--trace")
    require_new_file(path, "--trace", force=True)
    with pytest.raises(CraftError, match="is a directory"):
        require_new_file(tmp_path, "--trace", force=True)


OLD = "command: adapt\ndomain: flags\nconfig:\n  lr: 0.1\n"


@pytest.mark.parametrize(
    ("note", "complaint"),
    [
        (OLD, r"run of `craft adapt`.*; choose another directory, or --force to replace it"),
        ("format: 9\ncommand: adapt\nran_with: {}\n", r"has format 9, this version reads 1 to 2"),
        ("format: 2\ncommand: 7\nran_with: {}\n", r"run.yaml is damaged.*, or --force to write"),
        ("command: [adapt", r"run.yaml is damaged"),
        ("", r"run.yaml is damaged"),
    ],
)
@pytest.mark.parametrize("resume", [None, True])
def test_notes_of_other_versions_are_refused_with_the_way_out(
    note: str, complaint: str, resume: bool | None, tmp_path: Path
) -> None:
    (tmp_path / MARKER).write_text(note)
    (tmp_path / "pack.json").write_text("hours of work")
    with pytest.raises(CraftError, match=complaint):
        open_run_directory(tmp_path, {"command": "adapt"}, resume=resume)
    assert (tmp_path / MARKER).read_text() == note
    assert not open_run_directory(tmp_path, {"command": "adapt", "n": 4}, force=True)
    assert noted(tmp_path) == 4
