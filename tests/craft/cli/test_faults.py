"""Users' mistakes are one line; our bugs keep their traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from craft.evaluation.judge.client import BudgetReached, Judge
from craft.family.family import ModelFamily
from tests.craft.cli.commands import FEW, QUICK, craft_command, one_error_line

pytestmark = pytest.mark.usefixtures("quiet_process")


def test_a_fault_of_our_own_keeps_its_traceback(
    tiny_models: ModelFamily, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("list.remove(x): x not in list")

    monkeypatch.setattr("craft.workbench.examination.evaluate_pack", broken)
    given = ["evaluate", pack, "--out", tmp_path / "s", "--models", tiny_models.directory, *FEW]
    result = craft_command(*given)
    assert isinstance(result.exception, ValueError)
    assert result.exit_code == 1
    assert "error:" not in result.stderr


def test_a_training_that_diverges_is_one_line(
    small_world: None, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    given = ["adapt", "--domain", "flags", "--out", tmp_path / "p", *QUICK]
    rate = ["--set", "lr=1e20", "--set", "clip=1e30", "--set", "warmup=0"]
    line = one_error_line(craft_command(*given, *rate, "--models", tiny_models.directory))
    assert "not finite" in line.replace("no longer", "not")
    assert "lower lr (now 1e+20)" in line


def test_a_budget_that_is_spent_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def mark(*_: object) -> None:
        raise BudgetReached("the budget of 1 US dollars is reached")

    monkeypatch.setattr(Judge, "mark", mark)
    row = {"part": "justified", "model": "m", "condition": "c", "id": "1"}
    row |= {"prompt": "Which?", "answer": "A", "given": "A, because"}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    judge = ["judge", tmp_path / "predictions.jsonl", "--out", tmp_path / "v.jsonl", "--model", "x"]
    prices = ["--budget", 1, "--price-read", 1, "--price-written", 1]
    assert "budget of 1 US dollars" in one_error_line(craft_command(*judge, *prices))
