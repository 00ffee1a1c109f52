"""The table that the demo prints."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from craft.evaluation.aggregate import PARTS
from craft.pocket.demo.results import CONDITIONS, Condition, DemoResults, MeanScores
from craft.report.tables import count_row, points_style, score_table

TITLES: dict[Condition, str] = {
    "zero_shot": "zero-shot",
    "adapted": "adapted",
    "adapted_keep_0.8": "keep 0.8",
    "random_keep_0.8": "random 0.8",
}


#: Parts with points and spreads: the main number and the one that should not fall.
_COMPARED = ("all", "general")

#: Condition -> the condition that its points are relative to.
BASELINE: dict[Condition, Condition] = {
    "adapted": "zero_shot",
    "adapted_keep_0.8": "adapted",
    "random_keep_0.8": "adapted",
}


def demo_table(results: DemoResults) -> Table:
    """Table of a demo's results: a block per domain, and their average if there are several.

    Accuracies are in per cent; points in brackets are over zero-shot or, for pruning, over the same
    encoder without pruning.
    """
    seeds = len(results.seeds)
    caption = (
        "Per cent right, of n questions. In brackets: points over zero-shot; for pruning, over all "
        "tokens kept."
    )
    if seeds > 1:
        caption += f" ± is the standard deviation over {seeds} seeds."
    table = score_table(caption)
    blocks = {name: entry.models for name, entry in results.domains.items()}
    if len(blocks) > 1:
        blocks["average"] = results.average
    for title, models in blocks.items():
        table.add_section()
        table.add_row(Text(title, "bold"))
        table.add_row(*count_row(next(iter(models.values())).conditions[CONDITIONS[0]].n))
        for name, model in models.items():
            table.add_row(Text(f" {name}").append(f" ({model.role})", "dim"))
            for condition in CONDITIONS:
                scores = model.conditions[condition]
                baseline = model.conditions.get(BASELINE.get(condition, condition))
                table.add_row(
                    f"  {TITLES[condition]}",
                    *(
                        _cell(scores, part, None if baseline is scores else baseline)
                        for part in PARTS
                    ),
                )
    return table


def _cell(scores: MeanScores, part: str, baseline: MeanScores | None) -> Text:
    """One accuracy in per cent, in compared parts with its spread and points over ``baseline``."""
    value = getattr(scores, part)
    if value is None:
        return Text("–")
    cell = Text(f"{value:.1f}")
    if part in _COMPARED:
        spread = None if scores.spread is None else getattr(scores.spread, part)
        if spread is not None:
            cell.append(f" ±{spread:.1f}", "dim")
        before = None if baseline is None else getattr(baseline, part)
        if before is not None:
            points = value - before
            cell.append(f" ({points:+.1f})", points_style(points))
    return cell
