"""The demo's table."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from craft.evaluation.aggregate import PARTS
from craft.pocket.demo.results import CONDITIONS
from craft.report.tables import count_row, score_cell, score_table

TITLES = {
    "zero_shot": "zero-shot",
    "adapted": "adapted",
    "adapted_keep_0.8": "keep 0.8",
    "random_keep_0.8": "random 0.8",
}


#: The condition that each condition's points are relative to.
BASELINE = {"adapted": "zero_shot", "adapted_keep_0.8": "adapted", "random_keep_0.8": "adapted"}


def demo_table(results: dict[str, Any]) -> Table:
    """A demo's ``results.json``: a block per domain, and their average if there are several.

    Accuracies are in per cent; in brackets are the points over zero-shot or, for pruning, over the
    same encoder without pruning.
    """
    seeds = len(results["seeds"])
    caption = (
        "Per cent right, of n questions. In brackets: points over zero-shot; for pruning, over all "
        "tokens kept."
    )
    if seeds > 1:
        caption += f" ± is the standard deviation over {seeds} seeds."
    table = score_table(caption)
    blocks = {name: entry["models"] for name, entry in results["domains"].items()}
    if len(blocks) > 1:
        blocks["average"] = results["average"]
    for title, models in blocks.items():
        table.add_section()
        table.add_row(Text(title, "bold"))
        table.add_row(*count_row(next(iter(models.values()))[CONDITIONS[0]]["n"]))
        for name, model in models.items():
            table.add_row(Text(f" {name}").append(f" ({model['role']})", "dim"))
            for condition in CONDITIONS:
                baseline = model[BASELINE[condition]] if condition in BASELINE else None
                spread = model.get("spread", {}).get(condition)
                table.add_row(
                    f"  {TITLES[condition]}",
                    *(score_cell(model[condition], part, baseline, spread) for part in PARTS),
                )
    return table
