"""The page of ``craft reproduce``, and its main table for the README.

``python -m craft.pocket.reproduction.page RESULTS PAGE README`` rewrites both from results.json.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # the object interface draws with Agg and needs no display

from craft.pocket.reproduction.examination import RULES
from craft.pocket.reproduction.plan import MAIN
from craft.report.documents import between_marks
from craft.report.embedded import data_url, figure_png
from craft.report.html import page_template
from craft.runtime.json_cards import read_json
from craft.runtime.whole_file import write_text

BEGIN, END = "<!-- reproduction -->", "<!-- end of reproduction -->"
_LABELS = {"full": "by rarity", "random": "at random"}


def write_reproduction_page(results: dict[str, Any], path: Path) -> Path:
    """Write one self-contained HTML file.

    Args:
        results: the result of :func:`~craft.pocket.reproduction.run.reproduce`.
    """
    figures = {
        "methods": data_url(figure_png(_gains(results["methods"]))),
        "keep_ratios": data_url(figure_png(_curve(results["keep_ratios"]))),
    }
    page = page_template("craft.pocket.reproduction").render(
        results=results, figures=figures, main=MAIN, rules=RULES
    )
    write_text(path, page)
    return path


def _gains(rows: list[dict[str, Any]]) -> Figure:
    """Bars of each method's gain with its interval."""
    shown = [row for row in rows if row["gain"] is not None]
    figure = Figure(figsize=(8, 0.5 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    means = [row["gain"]["mean"] for row in shown]
    intervals = [row["gain"]["interval"] for row in shown]
    errors = [
        [mean - low for mean, (low, _) in zip(means, intervals, strict=True)],
        [high - mean for mean, (_, high) in zip(means, intervals, strict=True)],
    ]
    colours = ["#0072b2" if "craft" in row["title"] else "#b8b8b8" for row in shown]
    axes.barh([row["title"] for row in shown], means, xerr=errors, color=colours, capsize=2)
    axes.invert_yaxis()
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_xlabel("points over the row's own start")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _curve(lines: dict[str, list[dict[str, Any]]]) -> Figure:
    """Accuracy against the share of tokens kept, with intervals."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for (selector, points), colour in zip(lines.items(), ("#0072b2", "#e69f00"), strict=True):
        ratios = [point["keep"] for point in points]
        low, high = zip(*(point["interval"] for point in points), strict=True)
        means = [point["mean"] for point in points]
        axes.plot(ratios, means, marker=".", color=colour, label=_LABELS[selector])
        axes.fill_between(ratios, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("share of the tokens kept")
    axes.set_ylabel("accuracy, per cent")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def readme_table(results: dict[str, Any]) -> str:
    """The README's table of methods, in Markdown."""
    domains = list(results["methods"][0]["domains"])
    head = ["", *domains, "average", "gain [95 %]", "held-out classes", "general world", "paper"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in results["methods"]:
        cells = [row["title"]]
        cells += [f"{row['domains'][name]['mean']:.1f}" for name in domains]
        cells.append(f"**{row['all']['mean']:.1f}**")
        gain = row["gain"]
        cells.append("" if gain is None else _points(gain))
        cells += [f"{row[part]['mean']:.1f}" for part in ("heldout", "general")]
        cells.append("" if row["paper"] is None else f"{row['paper']:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_table(readme: str, results: dict[str, Any]) -> str:
    """The README with the table between its marks.

    Raises:
        CraftError: it lacks a mark.
    """
    return between_marks(readme, BEGIN, END, readme_table(results))


def _points(measure: dict[str, Any]) -> str:
    low, high = measure["interval"]
    return f"{measure['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    source, page, readme = map(Path, sys.argv[1:])
    found = read_json(source, "the results of a reproduction")
    write_reproduction_page(found, page)
    write_text(readme, with_table(readme.read_text(), found))
