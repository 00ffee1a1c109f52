"""Results as one table on the terminal, narrow enough for 80 columns."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from craft.evaluation.aggregate import PARTS

HEADINGS = {"all": "all", "seen": "seen", "heldout": "held-out", "general": "general"}

#: Where points and spreads are shown: the main number and the one that may not fall.
_COMPARED = ("all", "general")


def evaluation_table(results: dict[str, Any]) -> Table:
    """The ``results.json`` of ``craft evaluate``."""
    table = score_table(f"Per cent right, pruned with selector {results['settings']['selector']}.")
    table.add_row(Text(results["domain"], "bold"))
    for name, conditions in results["models"].items():
        table.add_row(f" {name}")
        for condition, scores in conditions.items():
            cells = (score_cell(scores, part, None, None) for part in PARTS)
            table.add_row(f"  {condition.replace('_', ' ')}", *cells)
    return table


def transfer_table(results: dict[str, Any]) -> Table:
    """The ``results.json`` of ``craft transfer``: an encoder a row, a language model a column."""
    matrix = results["matrix"]
    names = list(next(iter(matrix.values())))
    table = Table(
        caption=f"Per cent right on {results['domain']}, all classes. In brackets: points over the "
        "pretrained encoder with their 95 % interval.",
        caption_justify="left",
    )
    table.add_column("encoder")
    for name in names:
        table.add_column(name, justify="right")
    for encoder, row in matrix.items():
        cells = []
        for name in names:
            cell = Text(f"{row[name]['all']:.1f}")
            if "gain" in row[name]:
                points, (low, high) = row[name]["gain"]["all"], row[name]["gain"]["interval"]
                cell.append(f" ({points:+.1f}, {low:+.1f} to {high:+.1f})", points_style(points))
            cells.append(cell)
        surrogates = {row[name].get("surrogate") for name in names} - {None}
        title = Text(encoder)
        if surrogates:
            title.append(f" (tuned with {', '.join(sorted(surrogates))})", "dim")
        table.add_row(title, *cells)
    return table


def score_table(caption: str) -> Table:
    """An empty table with a column for each part of :data:`PARTS`."""
    table = Table(caption=caption, caption_justify="left")
    table.add_column("")
    for part in PARTS:
        table.add_column(HEADINGS[part], justify="right", no_wrap=True)
    return table


def score_cell(
    scores: dict[str, Any],
    part: str,
    baseline: dict[str, Any] | None,
    spread: dict[str, Any] | None,
) -> Text:
    """One accuracy in per cent, with its spread and the points from ``baseline`` where they count:
    for all classes and for the general world."""
    value = scores[part]
    if value is None:
        return Text("–")
    cell = Text(f"{value:.1f}")
    if part in _COMPARED:
        if spread is not None and spread[part] is not None:
            cell.append(f" ±{spread[part]:.1f}", "dim")
        if baseline is not None and baseline[part] is not None:
            points = value - baseline[part]
            cell.append(f" ({points:+.1f})", points_style(points))
    return cell


def points_style(points: float) -> str:
    """Green for a gain, red for a loss, if the table's one digit shows any."""
    if points >= 0.05:
        return "green"
    return "red" if points <= -0.05 else "dim"


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
        cells = (_with_spread(found[name]) for name in ("base", "novel", "harmonic_mean"))
        table.add_row(mode, f"{found['trained']:,}", *cells)
    return table


def _with_spread(score: dict[str, float | None]) -> str:
    spread = "" if score["std"] is None else f" ±{score['std']:.1f}"
    return f"{score['mean']:.1f}{spread}"
