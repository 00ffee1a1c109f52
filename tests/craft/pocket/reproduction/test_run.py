"""``craft reproduce`` on a tiny world: tables agree with the answers, and it resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft.family.family import ModelFamily
from craft.family.manifest import write_anew
from craft.pocket.reproduction.claims import CLAIMS, FAILS, HOLDS, UNTESTED, judge_claims
from craft.pocket.reproduction.examination import run_job
from craft.pocket.reproduction.outcomes import Outcomes, Row, measure
from craft.pocket.reproduction.page import readme_table, write_reproduction_page
from craft.pocket.reproduction.plan import (
    BASELINES,
    CODEBOOKS,
    FULL,
    KEEP_RATIOS,
    LOSSES,
    PRETRAINED,
    QUICK,
    SURROGATES,
    Job,
    Scale,
    jobs,
)
from craft.pocket.reproduction.run import COSTS as COSTS_FILE
from craft.pocket.reproduction.run import JOBS, reproduce
from craft.pocket.reproduction.training_cost import VARIANTS

TINY = Scale("tiny", ("handwriting", "flags"), ("handwriting",), 2, 1, 8, 6)
COSTS = {title: {"seconds": 1.0, "peak_mib": 100.0} for title in VARIANTS} | {
    "CRAFT, small model": {"seconds": 0.25, "peak_mib": 80.0}
}


@pytest.fixture(scope="module")
def finished(
    small_world: None,
    guessing: None,
    three_models: ModelFamily,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Any], Path]:
    """Results of the tiny scale, interrupted once in the middle."""
    out = tmp_path_factory.mktemp("reproduction")
    calls = []

    def stop(_task: str, done: int, _total: int) -> None:
        calls.append(done)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(TINY, three_models, out, measure_costs=lambda: COSTS, on_progress=stop)
    first = {path: path.stat().st_mtime_ns for path in (out / JOBS).glob("*-seed-*.json")}
    assert len(first) == 5

    def no_second_time() -> dict[str, dict[str, float]]:
        raise AssertionError("costs were measured before")

    results = reproduce(TINY, three_models, out, measure_costs=no_second_time)
    assert (
        first.items()
        <= {path: path.stat().st_mtime_ns for path in (out / JOBS).glob("*.json")}.items()
    )
    return results, out


def made_of(out: Path) -> str:
    """Hash of the models, which jobs record."""
    path = out / JOBS / f"{Job(PRETRAINED, 'flags').name}.json"
    return json.loads(path.read_text())["models"]


def test_what_is_damaged_is_done_again_before_it_is_read(
    finished: tuple[dict[str, Any], Path],
    three_models: ModelFamily,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected, out = finished
    again = shutil.copytree(out, tmp_path / "again")
    (again / COSTS_FILE).write_bytes(b"")  # as a full disk leaves it
    first, second = (again / JOBS / f"{Job(PRETRAINED, d).name}.json" for d in TINY.domains)
    first.write_bytes(first.read_bytes()[:100])
    second.write_text(second.read_text().replace('"seconds": ', '"seconds": 1'))  # one digit
    times = {path: path.stat().st_mtime_ns for path in (again / JOBS).glob("*.json")}
    measured = []

    def measure_costs() -> dict[str, dict[str, float]]:
        measured.append(1)
        return COSTS

    results = reproduce(TINY, three_models, again, measure_costs=measure_costs)
    assert measured == [1]
    assert results["methods"] == expected["methods"]
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {first, second}
    for path in (again / COSTS_FILE, first, second):
        assert f"{path}" in caplog.text
    assert "is empty; get the file again; costs will be measured again" in caplog.text


def test_other_models_do_not_mix_with_what_is_there(
    finished: tuple[dict[str, Any], Path], three_models: ModelFamily, tmp_path: Path
) -> None:
    _, out = finished
    other = shutil.copytree(three_models.directory, tmp_path / "models")
    config = other / "qwen2" / "config.json"
    config.write_text(config.read_text().replace("1e-06", "1e-05"))
    write_anew(other)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(ValueError, match=r"is of another model .* choose another --out"):
        reproduce(TINY, ModelFamily(other), out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_plan_has_every_experiment_once() -> None:
    for scale in (FULL, QUICK):
        planned = list(jobs(scale))
        assert len(set(planned)) == len({job.name for job in planned}) == len(planned)
        per_seed = len(SURROGATES) + len(BASELINES)
        ablations = len(LOSSES) + len(CODEBOOKS)
        domains, ablated = len(scale.domains), len(scale.ablated)
        assert len(planned) == domains + scale.seeds * (domains * per_seed + ablated * ablations)


def test_variants_differ_from_craft_in_what_they_say() -> None:
    craft = FULL.settings(Job("craft", "flags").changes, 1)
    for name, changed in (
        ("without contrastive", {"lambda_con": 0.0}),
        ("without commitment", {"lambda_commit": 0.0}),
        ("without answers", {"lambda_sal": 0.0}),
        ("vision_ft", {"method": "vision_ft"}),
    ):
        other = FULL.settings(Job(name, "flags").changes, 1)
        assert other == craft.model_copy(update=changed)
    tenth = FULL.settings(Job("codebook 10 %", "flags").changes, 1)
    assert tenth.codebook.chosen is not None
    assert tenth.codebook.fraction == 0.1


def test_tables_count_what_the_files_say(finished: tuple[dict[str, Any], Path]) -> None:
    results, out = finished
    rows = {row["title"]: row for row in results["methods"]}
    by_hand = []
    for domain in TINY.domains:
        shares = []
        for seed in range(TINY.seeds):
            path = out / JOBS / f"{Job('craft', domain, 'llama', seed).name}.json"
            digits = json.loads(path.read_text())["answers"]["qwen2"]["keep 1.0"]
            assert len(digits) == 8
            shares.append(100 * digits.count("1") / len(digits))
        assert rows["craft through llama"]["domains"][domain]["mean"] == pytest.approx(
            np.mean(shares)
        )
        by_hand.append(np.mean(shares))
    assert rows["craft through llama"]["all"]["mean"] == pytest.approx(np.mean(by_hand))
    gain = rows["craft through llama"]["gain"]["mean"]
    start = rows["zero-shot, codes"]["all"]["mean"]
    assert gain == pytest.approx(np.mean(by_hand) - start)
    transfer = {row["title"]: row["language_models"] for row in results["transfer"]}
    assert transfer["craft through llama"]["qwen2"]["gain"]["mean"] == pytest.approx(gain)


def test_every_table_is_there(finished: tuple[dict[str, Any], Path]) -> None:
    results, _ = finished
    assert [p["keep"] for p in results["keep_ratios"]["full"]] == list(KEEP_RATIOS)
    assert [r["title"] for r in results["losses"]] == ["craft", *LOSSES]
    assert [r["title"] for r in results["codebooks"]] == ["craft", *CODEBOOKS]
    assert all(set(row["language_models"]) == set(SURROGATES) for row in results["transfer"])
    assert len(results["claims"]) == len(CLAIMS) + 2
    time, memory = results["claims"][-2:]
    assert (time["verdict"], memory["verdict"]) == (HOLDS, FAILS)  # -75 % and -20 %
    assert results["seconds"]["work"] > 0


def test_another_scale_does_not_mix_with_what_is_there(
    finished: tuple[dict[str, Any], Path], three_models: ModelFamily
) -> None:
    _, out = finished
    with pytest.raises(ValueError, match="choose another --out"):
        reproduce(QUICK, three_models, out)


def test_two_models_are_too_few(tiny_models: ModelFamily, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks phi"):
        reproduce(TINY, tiny_models, tmp_path)


def test_a_job_that_fails_leaves_no_file(
    small_world: None, three_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("craft", "flags")
    monkeypatch.setattr("craft.pocket.reproduction.examination.adapt", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_job(job, TINY, three_models, tmp_path, "models")
    assert not list(tmp_path.glob("*.json"))


def test_measures_average_seeds_and_domains() -> None:
    # Two domains of different sizes: the average of their means, not of all questions.
    first = np.array([[100.0, 0.0, 100.0, 100.0], [100.0, 0.0, 0.0, 0.0]])
    second = np.array([[100.0, 0.0]])
    found = measure([first, second])
    assert found["mean"] == pytest.approx((50 + 50) / 2)
    assert found["spread"] == pytest.approx(np.std([(75 + 50) / 2, (25 + 50) / 2], ddof=1))
    low, high = found["interval"]
    assert low < 50 < high


def test_verdicts_follow_from_the_interval(
    finished: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = finished
    outcomes = Outcomes(out / JOBS, TINY, made_of(out))
    ones = {name: np.full((2, 50), 100.0) for name in ("better", "same")}

    def rights(row: Row, domain: str, part: str = "all") -> Any:
        adapted = row.variant == "craft" and row.condition == "keep 1.0"
        return ones["better"] if adapted else np.zeros((2, 50))

    monkeypatch.setattr(outcomes, "rights", rights)
    verdicts = {c["claim"]: c["verdict"] for c in judge_claims(outcomes, None)}
    assert verdicts["Adapting the encoder through codes improves a domain's accuracy."] == HOLDS
    assert verdicts["Keeping 80 % of the tokens costs at most 1.5 points."] == FAILS
    assert verdicts["Choosing by rarity beats chance at keep ratio 0.8."] == FAILS  # no difference
    assert UNTESTED in verdicts.values()


def test_page_and_readme_table(finished: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    results, _ = finished
    page = write_reproduction_page(results, tmp_path / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png") == 2
    for claim in results["claims"]:
        assert claim["verdict"] in page
    table = readme_table(results).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + len(results["methods"])
