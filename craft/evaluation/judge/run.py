"""From the justified answers of ``craft evaluate --justify`` to the judge's marks."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from craft.data.questions import seeded
from craft.errors import CraftError
from craft.evaluation.judge import protocol
from craft.evaluation.judge.client import Judge, mark_all
from craft.evaluation.judge.protocol import Verdict
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.regular_files import require_regular


def judge_predictions(
    predictions: Path,
    judge: Judge,
    out: Path,
    most: int = protocol.MOST_ANSWERS,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, dict[str, Any]]:
    """Marks at most `most` answers of each model and condition, the same ones in every run.

    Args:
        out: JSON lines, one a verdict; what stands there is not asked again.

    Returns:
        The judge's summary by "<model>/<condition>".

    Raises:
        CraftError: no justified answers in `predictions`, or lines that are no predictions.
        BudgetReached, JudgeUnavailable: verdicts so far stand in `out`.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with require_regular(predictions).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = _prediction(line, f"{predictions}:{number}")
            if row["world"] == "justified":
                groups[f"{row['model']}/{row['condition']}"].append(row)
    if not groups:
        raise CraftError(
            f"{predictions} holds no justified answers: make them with craft evaluate --justify"
        )
    rows = []
    for group, answers in groups.items():
        drawn = seeded("judge", group).sample(answers, min(most, len(answers)))
        rows += [row | {"id": f"{group}/{row['id']}"} for row in drawn]
    verdicts = mark_all(
        rows, judge, out, on_verdict=lambda done: on_progress("judging", done, len(rows))
    )
    found: dict[str, list[Verdict]] = {group: [] for group in groups}
    for row in rows:
        if row["id"] in verdicts:
            found[f"{row['model']}/{row['condition']}"].append(verdicts[row["id"]])
    return {group: protocol.summarize(marked) for group, marked in found.items()}


def _prediction(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise CraftError(f"{place}: not a prediction ({said}); give predictions.jsonl") from error
    needed = ["world", "model", "condition", "id"]
    if isinstance(row, dict) and row.get("world") == "justified":
        needed += ["prompt", "answer", "given"]
    lacking = [x for x in needed if not (isinstance(row, dict) and isinstance(row.get(x), str))]
    if lacking:
        raise CraftError(
            f"{place}: not a prediction: no text under {', '.join(lacking)}; give the "
            "predictions.jsonl that craft evaluate --justify wrote"
        )
    return row
