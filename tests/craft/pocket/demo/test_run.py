"""The demo end to end on a tiny world: its files agree with the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from craft.evaluation.aggregate import PARTS
from craft.family.family import ModelFamily
from craft.pocket.demo.results import (
    CONDITIONS,
    Condition,
    DemoResults,
    gains,
    over_domains,
    over_seeds,
)
from craft.pocket.demo.run import DemoRun, run_demo
from craft.pocket.domains import load_domain
from craft.pocket.retention import PocketProbe
from craft.settings.exams import ExamSettings
from craft.settings.training import CraftConfig
from craft.workbench.evaluate import evaluate_pack

QUICK = CraftConfig.model_validate(
    {"steps": 2, "batch": 4, "lr": 0.05, "validation_images": 4, "blend": False}
)


def scores(value: float) -> dict[str, Any]:
    more = {"n": dict.fromkeys(PARTS, 10), "balanced": {}, "intervals": {}, "lenient": value}
    return {**dict.fromkeys(PARTS, value), **more}


def conditions(*values: float) -> dict[Condition, dict[str, Any]]:
    return {c: scores(v) for c, v in zip(CONDITIONS, values, strict=True)}


def test_gains_say_what_is_compared() -> None:
    points = gains(conditions(40, 60, 59, 55))
    assert {name: part.all for name, part in points.items()} == {
        "adapted": 20,
        "keep_0.8": -1,
        "over_random": 4,
    }


def test_one_seed_is_reported_as_it_is_and_several_as_means() -> None:
    first, second = conditions(40, 60, 59, 55), conditions(40, 64, 61, 50)
    alone = over_seeds("surrogate", [0], [first])
    assert set(alone.conditions) == set(CONDITIONS)
    assert alone.conditions["adapted"].all == first["adapted"]["all"]
    assert alone.conditions["adapted"].spread is None
    assert alone.seeds == []
    both = over_seeds("surrogate", [0, 1], [first, second])
    assert both.conditions["adapted"].all == 62
    assert both.conditions["adapted"].n["all"] == 10
    spreads = {name: found.spread for name, found in both.conditions.items()}
    assert spreads["adapted"] is not None
    assert spreads["adapted"].all == pytest.approx(8**0.5)
    assert spreads["zero_shot"] is not None
    assert spreads["zero_shot"].all == 0
    assert [seed.seed for seed in both.seeds] == [0, 1]
    assert both.seeds[1].conditions["adapted"].all == 64


def test_spread_of_the_average_is_that_of_each_seeds_average() -> None:
    # Seeds that move two domains in opposite directions leave the average unchanged.
    up = [conditions(40, 60, 60, 60), conditions(40, 70, 60, 60)]
    down = [conditions(20, 50, 50, 50), conditions(20, 40, 50, 50)]
    average = over_domains([over_seeds("transfer", [0, 1], tables) for tables in (up, down)])
    assert average.role == "transfer"
    adapted = average.conditions["adapted"]
    assert adapted.all == 55
    assert adapted.n["all"] == 20
    assert adapted.spread is not None
    assert adapted.spread.all == 0
    assert average.gains["adapted"].all == 25
    assert average.gains_spread is not None
    assert average.gains_spread["adapted"].all == 0


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def run(small_world: None, guessing: None, tiny_models: ModelFamily, out: Path) -> DemoRun:
    return run_demo(
        ["handwriting", "flags"],
        out,
        [0, 1],
        QUICK,
        tiny_models,
        surrogate="llama",
        test_limit=12,
        general_images=6,
    )


def test_results_have_the_promised_shape_and_add_up(
    run: DemoRun, out: Path, tiny_models: ModelFamily
) -> None:
    results = json.loads((out / "results.json").read_text())
    assert DemoResults.load(out) == run.results
    assert results == run.results.model_dump(mode="json")
    assert list(results["domains"]) == ["handwriting", "flags"]
    assert results["codebook_fingerprint"] == tiny_models.codebook.fingerprint
    answers = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    accuracies = set()
    for domain, entry in results["domains"].items():
        models = entry["models"]
        assert {name: model["role"] for name, model in models.items()} == {
            "qwen2": "transfer",
            "llama": "surrogate",
        }
        for name, model in models.items():
            for condition in CONDITIONS:
                scores = model["conditions"][condition]
                assert scores["n"]["all"] == 12
                assert scores["n"]["general"] == 6
                seeds = [None] if condition == "zero_shot" else [0, 1]
                rows = [
                    row["right"]
                    for row in answers
                    if (row["domain"], row["model"]) == (domain, name)
                    and row["condition"] == condition
                    and row["part"] == "domain"
                    and row["seed"] in seeds
                ]
                assert len(rows) == 12 * len(seeds)
                accuracies.add(scores["all"])
                assert scores["all"] == pytest.approx(100 * sum(rows) / len(rows))
        hashes = [a["encoder_hash"] for a in entry["adaptations"]]
        assert len({*hashes, results["base_encoder_hash"]}) == 3
    assert len(accuracies) > 3
    assert set(results["average"]) == {"qwen2", "llama"}


def test_a_demos_pack_gives_the_demos_numbers_again(
    run: DemoRun, out: Path, tmp_path: Path, tiny_models: ModelFamily
) -> None:
    encoder = tiny_models.plug(out / "flags" / "seed-1")
    assert encoder.prior is not None
    again = evaluate_pack(
        encoder,
        tiny_models,
        load_domain("flags"),
        tmp_path / "again",
        names=["qwen2"],
        probe=PocketProbe(),
        settings=ExamSettings(keep_ratios=[1.0, 0.8], test_limit=12, general_images=6),
    )
    of_demo = run.results.domains["flags"].models["qwen2"].seeds[1].conditions
    pairs: list[tuple[str, Condition]] = [("1.0", "adapted"), ("0.8", "adapted_keep_0.8")]
    for ratio, condition in pairs:
        scores = again.models["qwen2"][f"keep_{ratio}"]
        assert scores.classes
        more = {"classes": {}, "gain": None}  # what the demo does not count
        assert scores.model_copy(update=more) == of_demo[condition]


def test_examples_show_both_kinds_of_classes(run: DemoRun) -> None:
    assert {(e.domain, e.heldout) for e in run.examples} == {
        (domain, heldout) for domain in ("handwriting", "flags") for heldout in (False, True)
    }
    for example in run.examples:
        assert example.kept.shape == example.codes.shape == (3, 3)
        assert int(example.kept.sum()) == 7
        assert set(example.answers["qwen2"]) == set(CONDITIONS)


def test_wrong_names_fail_before_anything_is_written(
    small_world: None, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"surrogate must be one of qwen2, llama .*got 'gpt'"):
        run_demo(["flags"], tmp_path / "a", [0], QUICK, tiny_models, surrogate="gpt")
    with pytest.raises(ValueError, match="seeds"):
        run_demo(["flags"], tmp_path / "a", [], QUICK, tiny_models)
    assert not (tmp_path / "a").exists()
