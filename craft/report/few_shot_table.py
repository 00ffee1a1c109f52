"""The table that ``craft few-shot`` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def few_shot_table(results: dict[str, Any]) -> Table:
    """``results.json`` of a few-shot comparison: a mode a row, accuracies in per cent."""
    classes = results["classes"]
    table = Table(
        caption=f"Per cent right on {results['domain']}: base classes among {classes['base']}, "
        f"novel ones among {classes['novel']}. ± is the standard deviation over seeds.",
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("trained weights", "base", "novel", "harmonic mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for mode, found in results["modes"].items():
        cells = (_cell(found[name]) for name in ("base", "novel", "harmonic_mean"))
        table.add_row(mode, f"{found['trained']:,}", *cells)
    return table


def _cell(score: dict[str, float | None]) -> str:
    spread = "" if score["std"] is None else f" ±{score['std']:.1f}"
    return f"{score['mean']:.1f}{spread}"
