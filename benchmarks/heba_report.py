"""python -m benchmarks.heba_report: write the tables and the figure of docs/heba.md.

Reads benchmarks/results: ``encoder_tuning.json``, ``few_shot_<domain>.json`` (the results.json of
``craft few-shot``) and ``adapter_cost.csv``. Parts without results are left unchanged.
"""

from __future__ import annotations

import json
from typing import Any

from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.report import DOCS, replace_between

TUNING = "encoder_tuning.json"
PARTS = {"all": "all", "heldout": "held-out", "general": "general world"}
COST = {
    "mode": "trains",
    "weights": "trained weights",
    "p50_s": "median s per step",
    "peak_mib": "peak MiB",
    "adapter_share_percent": "adapters' share of the forward pass, %",
    "no_product_percent": "of which no matrix products, %",
}


def tuning_table(report: dict[str, Any]) -> list[str]:
    """One row per mode; accuracies in per cent, mean and standard deviation over seeds."""
    models = {report["surrogate"]: "surrogate", report["transfer"]: "transfer"}
    columns = [
        f"{name} ({role}): {part}" for name, role in models.items() for part in PARTS.values()
    ]
    base = [f"{report['zero_shot'][name][part]:.1f}" for name in models for part in PARTS]
    lines = [
        f"{report['domain']}, {report['steps']} steps, {report['seeds']} seeds, "
        f"{report['threads']} thread(s), {report['machine']['date'][:10]}, "
        f"{report['machine']['processor']}.",
        "",
        f"| trains | rate | weights | MiB | s | codes changed | {' | '.join(columns)} |",
        "|---" * (6 + len(columns)) + "|",
        f"| nothing (zero-shot) | | 0 | | | | {' | '.join(base)} |",
    ]
    for mode, found in report["modes"].items():
        cells = [_score(found["scores"][name][part]) for name in models for part in PARTS]
        lines.append(
            f"| {mode} | {found['rate']:g} | {found['trained']:,} | {found['peak_mib']:.0f} "
            f"| {found['seconds']:.0f} | {100 * found['code_flip_rate']:.1f} % "
            f"| {' | '.join(cells)} |"
        )
    return lines


def few_shot_rows(found: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| images | base + novel classes | adapters | weights | base | novel | harmonic mean |",
        "|---" * 7 + "|",
    ]
    for run in found:
        classes = f"{run['classes']['base']} + {run['classes']['novel']}"
        for mode, scores in run["modes"].items():
            cells = [_score(scores[name]) for name in ("base", "novel", "harmonic_mean")]
            lines.append(
                f"| {run['domain']} | {classes} | {mode} | {scores['trained']:,} "
                f"| {' | '.join(cells)} |"
            )
    return lines


def cost_table() -> list[str]:
    rows = results.read("adapter_cost.csv")
    rows = [row for row in rows if row["date"] == rows[-1]["date"]]
    last = rows[-1]
    return [
        f"{last['date'][:10]}, {last['processor']}, {last['threads']} thread(s), batch "
        f"{last['batch']}, {last['blocks']} blocks.",
        "",
        f"| {' | '.join(COST.values())} |",
        "|---" * len(COST) + "|",
        *(f"| {' | '.join(row[key] for key in COST)} |" for row in rows),
    ]


def accuracy_by_weights(report: dict[str, Any]) -> Figure:
    """Accuracy and forgetting against the number of trained weights, a panel per language model."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    names = (report["surrogate"], report["transfer"])
    for axes, name in zip(figure.subplots(1, 2, sharey=True), names, strict=True):
        for part, marker in (("all", "o"), ("general", "x")):
            for i, (mode, found) in enumerate(report["modes"].items()):
                score = found["scores"][name][part]
                axes.errorbar(
                    found["trained"],
                    score["mean"],
                    score["std"],
                    marker=marker,
                    color=f"C{i}",
                    label=mode if part == "all" else None,
                    capsize=2,
                )
            axes.axhline(report["zero_shot"][name][part], color="grey", linewidth=0.7)
        axes.set_xscale("log")
        axes.set_xlabel("trained weights of the encoder")
        axes.set_title(f"{name}: domain (o), general world (x)", fontsize=9)
    figure.axes[0].set_ylabel("accuracy, per cent")
    figure.axes[1].legend(fontsize=7, frameon=False)
    return figure


def _score(score: dict[str, float | None]) -> str:
    return f"{score['mean']:.1f}" + (f" ±{score['std']:.1f}" if score["std"] is not None else "")


def main() -> None:
    document = DOCS / "heba.md"
    text = document.read_text()
    if (results.RESULTS / TUNING).is_file():
        report = json.loads((results.RESULTS / TUNING).read_text())
        text = replace_between(text, "encoder tuning", tuning_table(report))
        accuracy_by_weights(report).savefig(DOCS / "heba.svg", metadata={"Date": None})
    files = sorted(results.RESULTS.glob("few_shot_*.json"))
    if files:
        found = [json.loads(path.read_text()) for path in files]
        text = replace_between(text, "few-shot", few_shot_rows(found))
    if (results.RESULTS / "adapter_cost.csv").is_file():
        text = replace_between(text, "adapter cost", cost_table())
    document.write_text(text)


if __name__ == "__main__":
    main()
