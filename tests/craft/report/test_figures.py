"""Names in figures are drawn as written, whatever they contain."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from PIL import Image

from craft.evaluation.aggregate import PARTS
from craft.pocket.demo.plots import accuracy_figure, training_figure
from craft.pocket.demo.results import (
    CONDITIONS,
    DemoResults,
    DemoSettings,
    DomainResults,
    MeanScores,
    ModelResults,
)
from craft.report.code_pictures import code_map_figure
from craft.report.embedded import figure_png
from craft.report.figures import name_in_figure, save_figure, text_in_figure
from craft.report.laser_picture import laser_figure
from tests.craft.report.test_laser_picture import trace as laser_trace

NAMES = [
    "$x_1$",
    "$_^{$",
    r"\frac{$\alpha$",
    "_^{",
    "$100 to $200",
    "\x1b[31m\u202eevil\n\n\nlines",
    "word " * 2000,
    "x" * 10_000,
    "猫",
    "👩‍🚀 Côte d'Ivoire",
]


def test_titles_of_classes() -> None:
    count = len(NAMES)
    images, codes = torch.zeros(count, 3, 6, 6), torch.zeros(count, 1, 1, dtype=torch.int64)
    figure = code_map_figure(images, codes, {}, titles=NAMES)
    assert figure_png(figure).startswith(b"\x89PNG")
    titles = [axes.get_title() for axes in figure.axes[::2]]
    assert titles == [name_in_figure(name) for name in NAMES]
    assert all(len(title) <= 40 and "\n" not in title for title in titles)
    assert "猫" in titles


def test_names_of_domains_and_models(tmp_path: Path) -> None:
    parts: dict[str, Any] = dict.fromkeys(PARTS, 50.0)
    scores = MeanScores(**parts, n=dict.fromkeys(PARTS, 10))
    model = ModelResults(role="transfer", conditions=dict.fromkeys(CONDITIONS, scores), gains={})
    models = dict.fromkeys(NAMES, model)
    entry = DomainResults(models=models, classes=8, heldout_classes=[], adaptations=[], seconds={})
    results = DemoResults.of(
        domains=dict.fromkeys(NAMES[:2], entry),
        average=models,
        seeds=[0],
        settings=DemoSettings(surrogate="a", test_limit=None, general_images=9, config={}),
        versions={},
        codebook_fingerprint="f",
        base_encoder_hash="e",
        seconds=1.0,
    )
    assert figure_png(accuracy_figure(results)).startswith(b"\x89PNG")
    log = tmp_path / "train.jsonl"
    log.write_text(
        '{"step": 1, "sal": 1.0, "con": 1.0, "commit": 1.0}\n'
        '{"step": 1, "validation": {"domain": 25.0}}\n'
    )
    figure = training_figure(dict.fromkeys(NAMES, log))
    assert figure_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$_^{$", "\x1b[31m\u202eevil\n\n\nlines", "猫 " * 2000])
def test_questions_and_answers(name: str) -> None:
    file = io.BytesIO()
    save_figure(laser_figure(Image.new("RGB", (100, 80)), laser_trace(), name, name), file, "svg")
    assert b"<svg" in file.getvalue()


def test_names_are_not_tex(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the user's matplotlibrc renders all other text with TeX."""
    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    images, codes = torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 3, dtype=torch.int64)
    assert not code_map_figure(images, codes, {}, titles=["a_b"]).axes[0].title.get_usetex()


def test_mathematics_would_be_drawn_as_other_text() -> None:
    """Figures with and without mathematics differ, and ours is the one without."""
    images, codes = torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 3, dtype=torch.int64)
    figure = code_map_figure(images, codes, {}, titles=["$x_1$"])
    ours = figure_png(figure)
    figure.axes[0].title.set_parse_math(True)
    assert figure_png(figure) != ours


def test_missing_characters_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    images, codes = torch.zeros(2, 3, 12, 12), torch.zeros(2, 3, 3, dtype=torch.int64)
    with caplog.at_level(logging.WARNING):
        figure_png(code_map_figure(images, codes, {}, titles=["猫猫", "猫"]))
    (record,) = caplog.records
    assert "the figures' font lacks '猫'" in record.getMessage()


def test_text_is_wrapped_and_truncated() -> None:
    assert text_in_figure("a b\nc") == "a b\nc"
    assert text_in_figure("") == ""
    long = text_in_figure("word " * 1000, width=20, most_lines=3).split("\n")
    assert len(long) == 3
    assert long[-1] == "…"
    assert all(len(line) <= 20 for line in long)
