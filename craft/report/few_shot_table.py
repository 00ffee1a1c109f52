"""The table that ``craft few-shot`` prints."""

from __future__ import annotations

from rich.table import Table

from craft.evaluation.results import FewShotResults, MeanScore


def few_shot_table(results: FewShotResults) -> Table:
    """A mode a row, accuracies in per cent."""
    classes, n = results.classes, results.n
    table = Table(
        caption=f"Per cent right on {results.domain}, of n test images: base classes among "
        f"{classes['base']}, novel ones among {classes['novel']}. ± is the standard deviation over "
        "seeds.",
        caption_justify="left",
    )
    table.add_column("")
    headings = ("trained weights", f"base\nn = {n['base']}", f"novel\nn = {n['novel']}")
    for heading in (*headings, "harmonic mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for mode, found in results.modes.items():
        scores = (found.base, found.novel, found.harmonic_mean)
        table.add_row(mode, f"{found.trained:,}", *map(_cell, scores))
    return table


def _cell(score: MeanScore) -> str:
    spread = "" if score.std is None else f" ±{score.std:.1f}"
    return f"{score.mean:.1f}{spread}"
