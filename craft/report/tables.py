"""Results as one table on the terminal, narrow enough for 80 columns."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from craft.evaluation.aggregate import PARTS
from craft.evaluation.results import EvaluationResults, Gain, TransferResults
from craft.pocket.demo.results import CONDITIONS

TITLES = {
    "zero_shot": "zero-shot",
    "adapted": "adapted",
    "adapted_keep_0.8": "keep 0.8",
    "random_keep_0.8": "random 0.8",
}
HEADINGS = {"all": "all", "seen": "seen", "heldout": "held-out", "general": "general"}
#: What each condition's points are counted from.
BASELINE = {"adapted": "zero_shot", "adapted_keep_0.8": "adapted", "random_keep_0.8": "adapted"}
#: Where points and spreads are shown: the main number and the one that may not fall.
_COMPARED = ("all", "general")


def demo_table(results: dict[str, Any]) -> Table:
    """A demo's ``results.json``: a block a domain, and their average if there are several.

    Accuracies in per cent; in brackets the points to zero-shot, or, of pruning, to the same encoder
    unpruned.
    """
    seeds = len(results["seeds"])
    caption = (
        "Per cent right, of n questions. In brackets: points to zero-shot; of pruning, to all "
        "tokens kept."
    )
    if seeds > 1:
        caption += f" ± is the standard deviation over {seeds} seeds."
    table = _table(caption)
    blocks = {name: entry["models"] for name, entry in results["domains"].items()}
    if len(blocks) > 1:
        blocks["average"] = results["average"]
    for title, models in blocks.items():
        table.add_section()
        table.add_row(Text(title, "bold"))
        table.add_row(*_counts(next(iter(models.values()))[CONDITIONS[0]]["n"]))
        for name, model in models.items():
            table.add_row(Text(f" {name}").append(f" ({model['role']})", "dim"))
            for condition in CONDITIONS:
                baseline = model[BASELINE[condition]] if condition in BASELINE else None
                spread = model.get("spread", {}).get(condition)
                table.add_row(
                    f"  {TITLES[condition]}",
                    *(_cell(model[condition], part, baseline, spread) for part in PARTS),
                )
    return table


def evaluation_table(results: EvaluationResults) -> Table:
    """Of ``craft evaluate``: the pretrained encoder first, if it was examined, then each keep ratio
    with what it gained. Where classes have different numbers of questions, a row counts them the
    same."""
    caption = f"Per cent right, of n questions, pruned with selector {results.settings.selector}."
    every = [scores for conditions in results.models.values() for scores in conditions.values()]
    gains = any(scores.gain is not None for scores in every)
    if gains:
        caption += " Gains: points over the pretrained encoder, question by question."
    if any(scores.unequal for scores in every):
        caption += " Balanced: every class counts the same."
    table = _table(caption)
    if gains:
        table.add_column("gain (95 % interval)", justify="right")
    table.add_row(Text(results.domain, "bold"))
    if every:
        table.add_row(*_counts(every[0].n))
    for name, conditions in results.models.items():
        table.add_row(Text(f" {name}"))
        for condition, scores in conditions.items():
            cells = [_number(getattr(scores, part)) for part in PARTS]
            if scores.gain is not None:
                cells.append(_gain(scores.gain))
            table.add_row(f"  {condition.replace('_', ' ')}", *cells)
            if scores.unequal:
                balanced = (_number(scores.balanced.get(part)) for part in PARTS)
                table.add_row(Text("    balanced", "dim"), *balanced)
    return table


def transfer_table(results: TransferResults) -> Table:
    """Of ``craft transfer``: an encoder a row, a language model a column."""
    matrix = results.matrix
    first = next(iter(matrix.values()))
    names = list(first)
    counts = {row.n["all"] for row in first.values()}
    table = Table(
        caption=f"Per cent right on {results.domain}, all classes, n = {min(counts)}. In brackets: "
        "points over the pretrained encoder with their 95 % interval.",
        caption_justify="left",
    )
    table.add_column("encoder")
    for name in names:
        table.add_column(name, justify="right")
    for encoder, row in matrix.items():
        cells = []
        for name in names:
            cell, gain = _number(row[name].all), row[name].gain
            if gain is not None:
                points, (low, high) = gain.all, gain.interval
                cell.append(f" ({points:+.1f}, {low:+.1f} to {high:+.1f})", points_style(points))
            cells.append(cell)
        surrogates = {found for name in names if (found := row[name].surrogate) is not None}
        title = Text(encoder)
        if surrogates:
            title.append(f" (tuned with {', '.join(sorted(surrogates))})", "dim")
        table.add_row(title, *cells)
    return table


def _counts(n: dict[str, int]) -> list[Text]:
    """The row that says how many questions are behind each column."""
    return [Text(" n", "dim"), *(Text(str(n[part]), "dim") for part in PARTS)]


def _number(value: float | None) -> Text:
    return Text("–" if value is None else f"{value:.1f}")


def _gain(gain: Gain) -> Text:
    low, high = gain.interval
    cell = Text(f"{gain.all:+.1f}", points_style(gain.all))
    return cell.append(f" ({low:+.1f} to {high:+.1f})", "dim")


def _table(caption: str) -> Table:
    table = Table(caption=caption, caption_justify="left")
    table.add_column("")
    for part in PARTS:
        table.add_column(HEADINGS[part], justify="right", no_wrap=True)
    return table


def claims_table(results: dict[str, Any]) -> Table:
    """The claims of ``craft reproduce``, each with what was found and the verdict."""
    table = Table(caption="In brackets: 95 % intervals.", caption_justify="left")
    for heading in ("claim", "paper", "here", "verdict"):
        table.add_column(heading)
    for claim in results["claims"]:
        found, here = claim["found"], ""
        if found is not None and "percent" in found:
            here = f"{found['percent']:+.0f} %"
        elif found is not None:
            low, high = found["interval"]
            here = f"{found['mean']:+.1f} ({low:+.1f} to {high:+.1f})"
        table.add_row(claim["claim"], claim["paper"], here, claim["verdict"])
    return table


def _cell(
    scores: dict[str, Any],
    part: str,
    baseline: dict[str, Any] | None,
    spread: dict[str, Any] | None,
) -> Text:
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
