"""Have a judge mark the justified answers of ``craft evaluate --justify``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from craft.data.questions import seeded
from craft.errors import CraftError
from craft.evaluation.judge import protocol
from craft.evaluation.judge.protocol import UnreadableVerdict, Verdict
from craft.evaluation.judge.verdict_file import VerdictFile
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.regular_files import require_regular


class Marker(Protocol):
    """Anything that marks answers, such as :class:`~craft.evaluation.judge.client.Judge`.

    Attributes:
        model: its name, which is stored with its verdicts.
        spent: US dollars so far; set to the cost of stored verdicts before the first question.
    """

    model: str
    spent: float

    def mark(self, question: str, answer: str, reply: str) -> Verdict:
        """The verdict on one reply; raises UnreadableVerdict if there is none."""
        ...


def mark_all(
    rows: Iterable[Mapping[str, Any]],  # with id, prompt, answer and given, as in predictions.jsonl
    judge: Marker,
    out: Path,
    on_verdict: Callable[[int], None] = lambda done: None,
) -> dict[str, Verdict]:
    """Mark every row that is not in ``out`` yet, writing each verdict as it comes.

    Rows whose verdict is unreadable are recorded with the problem and count as unmarked.

    Returns:
        Verdicts by id, including those of earlier runs.

    Raises:
        BudgetReached, JudgeUnavailable: verdicts so far are in ``out``.
        CraftError: ``out`` holds verdicts of another judge or is not a file of verdicts, or another
            process is writing to it.
        OSError: a verdict cannot be written; earlier ones are in ``out``.
    """
    with VerdictFile(out, judge.model) as file:
        judge.spent = noted = file.spent
        for row in rows:
            if row["id"] in file.done:
                continue
            file.require_room()
            verdict, problem = None, ""
            try:
                verdict = judge.mark(row["prompt"], row["answer"], row["given"])
            except UnreadableVerdict as error:
                problem = str(error)
            except BaseException as error:  # Ctrl-C too, so that the cost so far is recorded
                if judge.spent > noted:
                    problem = f"interrupted: {str(error) or type(error).__name__}"
                    file.add(row["id"], judge.spent - noted, None, problem)
                raise
            file.add(row["id"], judge.spent - noted, verdict, problem)
            noted = judge.spent
            on_verdict(len(file.done))
        return file.done


def judge_predictions(
    predictions: Path,
    judge: Marker,
    out: Path,
    most: int = protocol.MOST_ANSWERS,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, dict[str, Any]]:
    """Mark at most ``most`` answers per model and condition, the same ones in every run.

    Args:
        out: file of JSON lines, one per verdict; answers already in it are not judged again.

    Returns:
        The judge's summary by "<model>/<condition>"; ``unreadable`` counts answers for which the
        judge gave no verdict.

    Raises:
        CraftError: ``predictions`` has no justified answers, a line that is not a prediction, or
            two answers with the same id.
        BudgetReached, JudgeUnavailable: verdicts so far are in ``out``.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with require_regular(predictions).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = _prediction(line, f"{predictions}:{number}")
            if row["part"] == "justified":
                groups[f"{row['model']}/{row['condition']}"].append(row)
    if not groups:
        raise CraftError(
            f"{predictions} has no justified answers; write them with craft evaluate --justify"
        )
    rows: list[dict[str, Any]] = []
    for group, answers in groups.items():
        drawn = seeded("judge", group).sample(answers, min(most, len(answers)))
        rows += [row | {"id": f"{group}/{row['id']}"} for row in drawn]
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise CraftError(f"{predictions} has two answers with id {twice!r}; remove one of them")
    verdicts = mark_all(
        rows, judge, out, on_verdict=lambda done: on_progress("judging", done, len(rows))
    )
    found: dict[str, list[Verdict]] = {group: [] for group in groups}
    unreadable = dict.fromkeys(groups, 0)
    for row in rows:
        group = f"{row['model']}/{row['condition']}"
        if row["id"] in verdicts:
            found[group].append(verdicts[row["id"]])
        else:
            unreadable[group] += 1
    return {
        group: protocol.summarize(marked) | {"unreadable": unreadable[group]}
        for group, marked in found.items()
    }


def _prediction(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise CraftError(f"{place}: not a prediction ({said}); give predictions.jsonl") from error
    needed = ["part", "model", "condition", "id"]
    if isinstance(row, dict) and row.get("part") == "justified":
        needed += ["prompt", "answer", "given"]
    lacking = [x for x in needed if not (isinstance(row, dict) and isinstance(row.get(x), str))]
    if lacking:
        raise CraftError(
            f"{place}: not a prediction: no text under {', '.join(lacking)}; give the "
            "predictions.jsonl that craft evaluate --justify wrote"
        )
    return row
