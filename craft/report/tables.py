"""Results as tables for a terminal of 80 columns."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from craft.evaluation.aggregate import PARTS
from craft.evaluation.results import (
    EvaluationResults,
    FewShotResults,
    Gain,
    MeanScore,
    TransferResults,
)

HEADINGS = {"all": "all", "seen": "seen", "heldout": "held-out", "general": "general"}


def evaluation_table(results: EvaluationResults) -> Table:
    """Build the table of ``craft evaluate``.

    The pretrained encoder comes first, if it was evaluated, then each keep ratio with its gain. If
    classes have different numbers of questions, a further row weights all classes equally.
    """
    caption = f"Per cent right of n questions, pruned with selector {results.settings.selector}."
    every = [scores for conditions in results.models.values() for scores in conditions.values()]
    gains = any(scores.gain is not None for scores in every)
    if gains:
        caption += " Gains: points over the pretrained encoder, paired by question."
    if any(scores.unequal for scores in every):
        caption += " Balanced: every class has equal weight."
    table = score_table(caption)
    if gains:
        table.add_column("gain (95 % interval)", justify="right")
    table.add_row(Text(results.domain, "bold"))
    if every:
        table.add_row(*count_row(every[0].n))
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
    """Build the table of ``craft transfer``: a row per encoder, a column per language model."""
    matrix = results.matrix
    first = next(iter(matrix.values()))
    names = list(first)
    counts = {row.n["all"] for row in first.values()}
    table = Table(
        caption=_caption(
            f"Per cent right on {results.domain}, all classes, n = {min(counts)}. In brackets: "
            "points over the pretrained encoder with their 95 % interval."
        ),
        caption_justify="left",
    )
    table.add_column("encoder")
    for name in names:
        table.add_column(Text(name), justify="right")
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


def count_row(n: dict[str, int]) -> list[Text]:
    """Build the row with the number of questions in each column."""
    return [Text(" n", "dim"), *(Text(str(n[part]), "dim") for part in PARTS)]


def _caption(text: str) -> Text:
    """Make a caption that may contain names; in a plain string, rich would interpret markup."""
    return Text(text, "table.caption")


def _number(value: float | None) -> Text:
    return Text("–" if value is None else f"{value:.1f}")


def _gain(gain: Gain) -> Text:
    low, high = gain.interval
    cell = Text(f"{gain.all:+.1f}", points_style(gain.all))
    return cell.append(f" ({low:+.1f} to {high:+.1f})", "dim")


def score_table(caption: str) -> Table:
    """Build an empty table with a column for each part of :data:`PARTS`."""
    table = Table(caption=caption, caption_justify="left")
    table.add_column("")
    for part in PARTS:
        table.add_column(HEADINGS[part], justify="right", no_wrap=True)
    return table


def points_style(points: float) -> str:
    """Green for a gain and red for a loss, dim if the table shows 0.0."""
    if points >= 0.05:
        return "green"
    return "red" if points <= -0.05 else "dim"


def few_shot_table(results: FewShotResults) -> Table:
    """Build the table of ``craft few-shot``: a row per mode, accuracies in per cent."""
    classes, n = results.classes, results.n
    table = Table(
        caption=_caption(
            f"Per cent right on {results.domain}, of n test images: base classes among "
            f"{classes['base']}, novel ones among {classes['novel']}. ± is the standard deviation "
            "over seeds."
        ),
        caption_justify="left",
    )
    table.add_column("")
    headings = ("trained weights", f"base\nn = {n['base']}", f"novel\nn = {n['novel']}")
    for heading in (*headings, "harmonic mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for mode, found in results.modes.items():
        scores = (found.base, found.novel, found.harmonic_mean)
        table.add_row(Text(mode), f"{found.trained:,}", *map(_with_spread, scores))
    return table


def _with_spread(score: MeanScore) -> str:
    spread = "" if score.std is None else f" ±{score.std:.1f}"
    return f"{score.mean:.1f}{spread}"
