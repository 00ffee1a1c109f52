"""The page is self-contained, shows the results, and dims exactly the pruned patches."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from craft.evaluation.aggregate import PARTS
from craft.evaluation.four_option import Prediction
from craft.pocket.demo.example import Example
from craft.pocket.demo.page import write_page
from craft.pocket.demo.results import (
    CONDITIONS,
    DemoResults,
    DemoSettings,
    DomainResults,
    Table,
    over_domains,
    over_seeds,
)
from craft.report.patches import code_map, dim_pruned


@pytest.fixture
def results(tmp_path: Path) -> DemoResults:
    def scores(value: float) -> dict[str, Any]:
        counts = dict.fromkeys(PARTS, 10)
        more = {"n": counts, "balanced": {}, "intervals": {}, "lenient": value}
        return {**dict.fromkeys(PARTS, value), "heldout": None, **more}

    tables: list[Table] = [{c: scores(50.0 + s) for c in CONDITIONS} for s in (0, 1)]
    models = {
        "qwen2": over_seeds("surrogate", [0, 1], tables),
        "llama": over_seeds("transfer", [0, 1], tables),
    }
    domains = {}
    for name in ("flags", "lineart"):
        log = tmp_path / name / "seed-0" / "train.jsonl"
        log.parent.mkdir(parents=True)
        entries = [
            {"step": 0, "validation": {"domain": 25.0, "general": 90.0}},
            {"step": 0, "gradient_norms": {"sal": 1.0}},
            {"step": 1, "sal": 2.0, "con": 1.0, "commit": 0.1},
            {
                "step": 2,
                "sal": 1.0,
                "con": 0.9,
                "commit": 0.1,
                "validation": {"domain": 50.0, "general": 89.0},
            },
        ]
        log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        domains[name] = DomainResults(
            models=models, classes=8, heldout_classes=["a"], adaptations=[], seconds={}
        )
    return DemoResults.of(
        domains=domains,
        average={name: over_domains([m, m]) for name, m in models.items()},
        seeds=[0, 1],
        settings=DemoSettings(surrogate="qwen2", test_limit=None, general_images=30, config={}),
        versions={"torch": "2"},
        codebook_fingerprint="f" * 64,
        base_encoder_hash="e" * 64,
        seconds=1.0,
    )


def example(label: str) -> Example:
    answer = Prediction("i", label, True, "q", "B", "b", True, True)
    return Example(
        domain="flags",
        label=label,
        heldout=True,
        prompt="What flag is shown?\nA. <b>x</b>",
        answer="B",
        image=torch.rand(3, 24, 24),
        codes=torch.arange(9).view(3, 3),
        kept=torch.arange(9).view(3, 3) < 7,
        answers={"qwen2": dict.fromkeys(CONDITIONS, answer)},
    )


def test_page_is_self_contained_and_escapes_text(results: DemoResults, tmp_path: Path) -> None:
    path = write_page(results, [example("Côte d'Ivoire"), example("Peru")], tmp_path)
    html = path.read_text(encoding="utf-8")
    assert path == tmp_path / "index.html"
    sources = re.findall(r'src="([^"]*)"', html)
    assert len(sources) == 2 + 2 * 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link", html)
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "7 of 9 kept" in html
    assert "<h2>average</h2>" in html
    # The number of questions is above each domain's numbers.
    assert html.count("<td>n</td><td>10</td>") == 2
    assert "<td>n</td><td>20</td>" in html
    HTMLParser().feed(html)
    for name in ("accuracy.png", "training.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_names_are_no_html_and_reverse_nothing(results: DemoResults, tmp_path: Path) -> None:
    evil = '\u202e\x1b[31m"><script>alert(1)</script>{{ 7 * 7 }}'
    changes = {
        "settings": results.settings.model_copy(update={"options": evil}),
        "versions": {evil: evil},
    }
    html = write_page(results.model_copy(update=changes), [example(evil)], tmp_path).read_text(
        encoding="utf-8"
    )
    shown = r"\u202e\x1b[31m&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}"
    assert html.count(shown) >= 5
    assert "<script" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)


def test_answers_are_coloured_by_whether_they_were_right(
    results: DemoResults, tmp_path: Path
) -> None:
    html = write_page(results, [example("Peru")], tmp_path).read_text(encoding="utf-8")
    assert html.count('<span class="up">b</span>') == len(CONDITIONS)  # "b" is right for "B"


def test_only_pruned_patches_change() -> None:
    image = torch.ones(3, 6, 6)
    kept = torch.tensor([[True, False], [True, True]])
    veiled = dim_pruned(image, kept)
    changed = (veiled != image).any(0)
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[:3, 3:] = True
    assert torch.equal(changed, expected)


def test_equal_codes_have_equal_colours() -> None:
    picture = code_map(torch.tensor([[5, 5], [6, 300]]))
    quarter = picture.shape[-1] // 2
    corners = picture[:, ::quarter, ::quarter].flatten(1).T.tolist()
    assert corners[0] == corners[1]
    assert len({tuple(c) for c in corners}) == 3
