"""Terminal tables: the right numbers in the right places, in 80 columns."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from craft.evaluation.results import EvaluationResults, FewShotResults, TransferResults
from craft.pocket.demo.results import (
    CONDITIONS,
    DemoResults,
    DemoSettings,
    DomainResults,
    over_domains,
    over_seeds,
)
from craft.pocket.demo.results import Table as DemoTable
from craft.pocket.demo.table import demo_table
from craft.report.tables import evaluation_table, few_shot_table, points_style, transfer_table


def scores(value: float, heldout: float | None = 12.3) -> dict[str, Any]:
    return {
        "all": value,
        "seen": 45.6,
        "heldout": heldout,
        "general": 91.0,
        "n": {"all": 450, "seen": 449, "heldout": 1, "general": 900},
        "balanced": {"all": 33.3, "seen": 44.4, "heldout": heldout},
        "intervals": {"all": (value - 5, value + 5), "seen": None, "heldout": None},
        "lenient": value,
    }


def evaluation(models: dict[str, Any], domain: str = "flags") -> EvaluationResults:
    return EvaluationResults.of(
        domain=domain,
        models=models,
        settings={
            "method": "craft",
            "selector": "full",
            "keep_ratios": [0.8],
            "seed": 0,
            "test_limit": None,
            "general_images": 900,
        },
        encoder_hash="e",
        codebook_fingerprint="f",
        versions={},
    )


GAIN = {"all": -10.25, "interval": (-12.5, -8.0)}


def results(seeds: list[int], domains: tuple[str, ...]) -> DemoResults:
    tables: list[DemoTable] = [
        {c: scores(40.0 + 10 * i + s) for i, c in enumerate(CONDITIONS)} for s in range(len(seeds))
    ]
    model = over_seeds("surrogate", seeds, tables)
    entry = DomainResults(
        models={"qwen2": model}, classes=8, heldout_classes=["a"], adaptations=[], seconds={}
    )
    return DemoResults.of(
        domains=dict.fromkeys(domains, entry),
        average={"qwen2": over_domains([model] * len(domains))},
        seeds=seeds,
        settings=DemoSettings(surrogate="qwen2", test_limit=None, general_images=900, config={}),
        versions={},
        codebook_fingerprint="f",
        base_encoder_hash="e",
        seconds=1.0,
    )


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


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_what_was_not_asked_is_a_dash() -> None:
    table = evaluation_table(evaluation({"llama": {"keep_0.8": scores(50.0, heldout=None)}}))
    (line,) = [line for line in rendered(table) if "keep 0.8" in line]
    assert cells(line) == ["keep 0.8", "50.0", "45.6", "–", "91.0"]


def test_counts_are_shown_with_percentages() -> None:
    of_evaluation = evaluation_table(evaluation({"llama": {"keep_0.8": scores(50.0, 100.0)}}))
    for table in (of_evaluation, demo_table(results([0], ("flags",)))):
        lines = [cells(line) for line in rendered(table)]
        assert ["n", "450", "449", "1", "900"] in lines


def test_evaluation_shows_before_after_and_the_interval_in_80_columns() -> None:
    conditions = {"pretrained": scores(100.0), "keep_0.8": scores(89.75) | {"gain": GAIN}}
    lines = rendered(evaluation_table(evaluation({"llama": conditions})))
    (before,) = [cells(line) for line in lines if "pretrained" in line and "│" in line]
    (after,) = [cells(line) for line in lines if "keep 0.8" in line]
    assert before == ["pretrained", "100.0", "45.6", "12.3", "91.0", ""]
    assert after == ["keep 0.8", "89.8", "45.6", "12.3", "91.0", "-10.2 (-12.5 to -8.0)"]
    assert max(map(len, lines)) <= 80


def test_balanced_accuracy_is_a_row_where_classes_are_unequal() -> None:
    def of(most: int) -> list[list[str]]:
        entry = {"accuracy": 50.0, "heldout": False}
        classes = {"cat": {**entry, "n": most}, "dog": {**entry, "n": 2}}
        conditions = {"keep_0.8": scores(50.0, None) | {"classes": classes}}
        return [cells(line) for line in rendered(evaluation_table(evaluation({"a": conditions})))]

    assert ["balanced", "33.3", "44.4", "–", "–"] in of(most=9)
    assert not any(row[0] == "balanced" for row in of(most=2))


def test_transfer_says_how_many_questions_it_asked() -> None:
    table = transfer_table(
        TransferResults.of(
            domain="flags",
            matrix={
                "pretrained": {"llama": scores(100.0)},
                "pack-a": {"llama": scores(89.75) | {"gain": GAIN, "surrogate": "qwen2"}},
            },
            settings={"keep_ratio": 1.0, "test_limit": None, "general_images": 900},
            encoder_hashes={},
            codebook_fingerprint="f",
            versions={},
        )
    )
    lines = rendered(table)
    assert any("n = 450" in line for line in lines)
    assert any("89.8 (-10.2, -12.5 to -8.0)" in line for line in lines)
    assert any("tuned with qwen2" in line for line in lines)


def test_few_shot_says_how_many_images_it_tested() -> None:
    score = {"mean": 91.25, "std": None}
    mode = {"trained": 1200, "base": score, "novel": score, "harmonic_mean": score}
    found = FewShotResults.of(
        domain="flags",
        classes={"base": 5, "novel": 6},
        n={"base": 1000, "novel": 12},
        modes={"heba_discrete": mode},
        seeds=[0],
        recipe={},
        versions={},
    )
    lines = rendered(few_shot_table(found))
    assert any("n = 1000" in line and "n = 12" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_points_are_coloured_only_if_the_digit_shows() -> None:
    assert [points_style(p) for p in (1.0, 0.04, 0.0, -0.04, -1.0)] == [
        "green",
        "dim",
        "dim",
        "dim",
        "red",
    ]
