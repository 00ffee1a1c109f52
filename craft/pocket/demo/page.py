"""The demo's page, one HTML file with numbers, curves, and images with their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from craft.evaluation.aggregate import PARTS
from craft.pocket.demo.example import Example
from craft.pocket.demo.plots import accuracy_figure, training_figure
from craft.pocket.demo.results import CONDITIONS, DemoResults
from craft.pocket.demo.table import BASELINE, TITLES
from craft.report.embedded import data_url, figure_png, image_png
from craft.report.html import page_template
from craft.report.patches import _SIDE, code_map, dim_pruned
from craft.report.tables import HEADINGS
from craft.runtime.whole_file import write_bytes, write_text


def write_page(results: DemoResults, examples: list[Example], directory: Path) -> Path:
    """Write ``index.html`` and the figures beside it as PNG files.

    Args:
        results: content of the demo's results.json.
        directory: of the demo, which contains the training logs.
    """
    first = results.seeds[0]
    logs = {name: directory / name / f"seed-{first}" / "train.jsonl" for name in results.domains}
    figures = {"accuracy": accuracy_figure(results), "training": training_figure(logs)}
    embedded = {}
    for name, figure in figures.items():
        png = figure_png(figure)
        write_bytes(directory / f"{name}.png", png)
        embedded[name] = data_url(png)
    page = page_template("craft.pocket.demo").render(
        results=results,
        figures=embedded,
        examples=[_card(example) for example in examples],
        conditions=CONDITIONS,
        titles=TITLES,
        parts=PARTS,
        headings=HEADINGS,
        baseline=BASELINE,
    )
    path = directory / "index.html"
    write_text(path, page)
    return path


def _card(example: Example) -> dict[str, Any]:
    return {
        "example": example,
        "image": data_url(image_png(_enlarged(example.image))),
        "pruned": data_url(image_png(dim_pruned(_enlarged(example.image), example.kept))),
        "codes": data_url(image_png(code_map(example.codes))),
        "kept": int(example.kept.sum()),
        "tokens": example.kept.numel(),
    }


def _enlarged(image: Tensor) -> Tensor:
    return F.interpolate(image[None], (_SIDE, _SIDE), mode="nearest-exact")[0]
