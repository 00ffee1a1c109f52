"""The demo's figures: accuracies before and after adaptation, and training curves."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure  # the object interface draws with Agg and needs no display

from craft.pocket.demo.results import CONDITIONS, DemoResults
from craft.pocket.demo.table import TITLES
from craft.report.figures import LITERAL, name_in_figure
from craft.runtime.json_cards import read_json_lines

_COLOURS = dict(zip(CONDITIONS, ("#b8b8b8", "#0072b2", "#56b4e9", "#e69f00"), strict=True))
_LOSSES = {"sal": "answers", "con": "contrastive", "commit": "commitment"}


def accuracy_figure(results: DemoResults) -> Figure:
    """Bars of four-option accuracy on all classes: a panel per domain, a group per language model.

    Whiskers show the standard deviation over seeds.
    """
    blocks = {name: entry.models for name, entry in results.domains.items()}
    if len(blocks) > 1:
        blocks["average"] = results.average
    figure = Figure(figsize=(2 + 2.6 * len(blocks), 3.4), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    width = 0.8 / len(CONDITIONS)
    for axes, (title, models) in zip(panels, blocks.items(), strict=True):
        for i, condition in enumerate(CONDITIONS):
            places = [x + (i - (len(CONDITIONS) - 1) / 2) * width for x in range(len(models))]
            scores = [model.conditions[condition] for model in models.values()]
            spreads = [None if s.spread is None else s.spread.all for s in scores]
            bars = axes.bar(
                places,
                [s.all for s in scores],
                width,
                color=_COLOURS[condition],
                label=TITLES[condition],
                yerr=None if None in spreads else spreads,
                capsize=2,
            )
            axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
        axes.axhline(25, color="#888888", linewidth=0.8, linestyle=":")
        n = next(iter(models.values())).conditions["zero_shot"].n["all"]
        axes.set_title(f"{name_in_figure(title)} (n = {n})", fontsize=10, **LITERAL)
        names = [f"{name_in_figure(n, 16)}\n({m.role})" for n, m in models.items()]
        axes.set_xticks(range(len(models)), names, **LITERAL)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0, 105)
    panels[0].set_ylabel("four-option accuracy, per cent")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(CONDITIONS),
        frameon=False,
        fontsize=8,
        columnspacing=1,
    )
    return figure


def training_figure(logs: dict[str, Path]) -> Figure:
    """Losses and validation accuracies from ``train.jsonl``: a column per run, titled by key."""
    figure = Figure(figsize=(1.0 + 3.4 * len(logs), 4.6), layout="constrained")
    panels = figure.subplots(2, len(logs), squeeze=False)
    for column, (title, path) in enumerate(logs.items()):
        entries = list(read_json_lines(path, "the training log", foreign=True))
        steps = [entry for entry in entries if "sal" in entry]
        losses, accuracies = panels[0][column], panels[1][column]
        for name, label in _LOSSES.items():
            values = _smooth([step[name] for step in steps])
            losses.plot([step["step"] for step in steps], values, label=label, linewidth=1.2)
        losses.set_title(name_in_figure(title), fontsize=10, **LITERAL)
        validations = [entry for entry in entries if "validation" in entry]
        for name in validations[0]["validation"] if validations else ():
            accuracies.plot(
                [entry["step"] for entry in validations],
                [entry["validation"][name] for entry in validations],
                marker=".",
                label=name,
            )
        accuracies.set_xlabel("step")
        for axes in (losses, accuracies):
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=8)
    panels[0][0].set_ylabel("weighted loss")
    panels[1][0].set_ylabel("validation, per cent")
    return figure


def _smooth(values: list[float], decay: float = 0.95) -> list[float]:
    """Bias-corrected exponential moving average."""
    total = weight = 0.0
    smoothed = []
    for value in values:
        total = decay * total + value
        weight = decay * weight + 1
        smoothed.append(total / weight)
    return smoothed
