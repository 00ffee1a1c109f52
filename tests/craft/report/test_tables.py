"""The terminal table: right numbers in the right places, in 80 columns."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from craft.evaluation.aggregate import PARTS
from craft.pocket.demo.results import CONDITIONS, over_domains, over_seeds
from craft.pocket.demo.table import demo_table
from craft.report.tables import evaluation_table, points_style


def scores(value: float, heldout: float | None = 12.3) -> dict[str, Any]:
    return {
        "all": value,
        "seen": 45.6,
        "heldout": heldout,
        "general": 91.0,
        "n": dict.fromkeys(PARTS, 9),
    }


def results(seeds: list[int], domains: tuple[str, ...]) -> dict[str, Any]:
    tables = [
        {c: scores(40.0 + 10 * i + s) for i, c in enumerate(CONDITIONS)} for s in range(len(seeds))
    ]
    model = {"role": "surrogate", **over_seeds(seeds, tables)}
    return {
        "domains": {name: {"models": {"qwen2": model}} for name in domains},
        "average": {"qwen2": over_domains([model] * len(domains))},
        "seeds": seeds,
    }


def rendered(table: Table) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_one_domain_one_seed() -> None:
    lines = rendered(demo_table(results([0], ("flags",))))
    (adapted,) = [line for line in lines if " adapted " in line]
    assert "50.0 (+10.0)" in adapted
    assert "91.0 (+0.0)" in adapted
    (pruned,) = [line for line in lines if "keep 0.8" in line]
    assert "60.0 (+10.0)" in pruned  # to the unpruned encoder, not to zero-shot
    assert any("qwen2 (surrogate)" in line for line in lines)
    assert not any("average" in line or "±" in line for line in lines)


def test_several_domains_and_seeds_add_average_and_spread() -> None:
    lines = rendered(demo_table(results([0, 1], ("flags", "lineart"))))
    assert [w for line in lines for w in line.split() if w in ("flags", "lineart", "average")] == [
        "flags",
        "lineart",
        "average",
    ]
    assert sum("50.5 ±0.7 (+10.0)" in line for line in lines) == 3
    assert max(map(len, lines)) <= 80


def test_what_was_not_asked_is_a_dash() -> None:
    table = evaluation_table(
        {
            "domain": "flags",
            "models": {"llama": {"keep_0.8": scores(50.0, heldout=None)}},
            "settings": {"selector": "full"},
        }
    )
    (line,) = [line for line in rendered(table) if "keep 0.8" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "keep 0.8",
        "50.0",
        "45.6",
        "–",
        "91.0",
    ]


def test_points_are_coloured_only_if_the_digit_shows() -> None:
    assert [points_style(p) for p in (1.0, 0.04, 0.0, -0.04, -1.0)] == [
        "green",
        "dim",
        "dim",
        "dim",
        "red",
    ]
