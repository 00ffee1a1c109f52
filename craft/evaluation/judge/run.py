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
        CraftError: no justified answers in `predictions`.
        BudgetReached, openai.APIError: verdicts so far stand in `out`.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with predictions.open() as lines:
        for line in lines:
            row = json.loads(line)
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
