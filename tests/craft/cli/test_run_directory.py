"""What a command may write over."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from craft.cli.run_directory import MARKER, open_run_directory


def test_new_empty_and_earlier_directories_are_taken(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    open_run_directory(out, {"command": "demo"})
    assert yaml.safe_load((out / MARKER).read_text()) == {"command": "demo"}
    (out / "results.json").write_text("kept until replaced")
    open_run_directory(out, {"command": "again"})
    assert yaml.safe_load((out / MARKER).read_text()) == {"command": "again"}
    assert (out / "results.json").exists()
    (tmp_path / "empty").mkdir()
    open_run_directory(tmp_path / "empty", {})


def test_other_peoples_files_are_safe_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(
        ValueError, match=r"not an earlier run; choose another directory, or --force"
    ):
        open_run_directory(tmp_path, {})
    assert not (tmp_path / MARKER).exists()
    open_run_directory(tmp_path, {}, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ValueError, match="is a file"):
        open_run_directory(path, {}, force=True)
