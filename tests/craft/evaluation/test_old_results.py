"""Results of earlier versions are refused with the way out, never guessed at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from craft.errors import CraftError
from craft.evaluation.judge.run import judge_predictions
from craft.evaluation.results import (
    EvaluationResults,
    FewShotResults,
    ResultsFile,
    TransferResults,
)
from craft.pocket.demo.results import DemoResults

KINDS = (EvaluationResults, TransferResults, FewShotResults, DemoResults)
#: As the first version wrote them, without a format number.
SCORES = {"all": 50.0, "seen": 50.0, "heldout": None, "general": 90.0, "n": {"all": 4}}
OLD: dict[str, dict[str, Any]] = {
    "evaluate": {"command": "evaluate", "models": {"qwen2": {"keep_1.0": SCORES}}},
    "transfer": {"command": "transfer", "matrix": {"pack": {"qwen2": SCORES}}},
    "few-shot": {"command": "few-shot", "modes": {"heba": {"base": 50.0}}},
    "demo": {"command": "demo", "domains": {"flags": {"models": {"qwen2": {}}}}},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", [None, 1, 99])
def test_another_format_is_refused(
    kind: type[ResultsFile], written: int | None, tmp_path: Path
) -> None:
    content = OLD[kind.COMMAND] | {"versions": {"craft": "0.0.1"}}
    if written is not None:
        content = content | {"format": written}
    (tmp_path / "results.json").write_text(json.dumps(content))
    message = (
        rf"has format {written}, this version reads {kind.FORMAT}; run craft {kind.COMMAND} again, "
        r"or read it with the version that wrote it \(craft '0.0.1'\)"
    )
    with pytest.raises(CraftError, match=message):
        kind.load(tmp_path)


def test_old_predictions_are_refused(tmp_path: Path) -> None:
    row = {"world": "justified", "model": "m", "condition": "c", "id": "1", "prompt": "?"}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    judge: Any = None
    with pytest.raises(CraftError, match=r"predictions.jsonl:1: .*no text under part.*--justify"):
        judge_predictions(tmp_path / "predictions.jsonl", judge, tmp_path / "v.jsonl")
