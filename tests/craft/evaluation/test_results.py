"""Results files are typed and written atomically; other files are refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft.errors import CraftError
from craft.evaluation.results import (
    PREDICTIONS,
    RESULTS,
    EvaluationResults,
    Gain,
    Scores,
    TransferResults,
    written_together,
)

SCORES: dict[str, Any] = {
    "all": 50.0,
    "seen": 50.0,
    "heldout": None,
    "general": 90.0,
    "n": {"all": 4, "seen": 4, "heldout": 0, "general": 10},
    "balanced": {"all": 50.0, "seen": 50.0, "heldout": None},
    "intervals": {"all": [0.0, 100.0], "seen": [0.0, 100.0], "heldout": None},
    "lenient": 50.0,
}


def evaluation() -> EvaluationResults:
    return EvaluationResults.of(
        domain="flags",
        models={"llama": {"keep_1.0": Scores.model_validate(SCORES)}},
        settings={
            "method": "craft",
            "selector": "full",
            "keep_ratios": [1.0],
            "seed": 0,
            "test_limit": None,
            "general_images": 10,
        },
        encoder_hash="e",
        codebook_fingerprint="f",
        versions={"craft": "1.2.3"},
    )


def test_saved_results_are_read_back(tmp_path: Path) -> None:
    evaluation().save(tmp_path / "new")
    assert EvaluationResults.load(tmp_path / "new") == evaluation()
    assert EvaluationResults.load(tmp_path / "new" / RESULTS) == evaluation()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [RESULTS]


def test_a_failed_write_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = evaluation().save(tmp_path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        evaluation().save(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 99}, r"has format 99, this version reads 2; run craft evaluate .*1\.2"),
        ({"format": None}, r"has format None"),
        (
            {"command": "transfer"},
            r"was written by craft 'transfer', expected results of craft",
        ),
        ({"models": {"llama": {"keep_1.0": {"all": 3}}}}, r"models\.llama\.keep_1\.0\.seen: Field"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = evaluation().save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CraftError, match=complaint):
        EvaluationResults.load(tmp_path)


def test_broken_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CraftError, match="does not exist"):
        TransferResults.load(tmp_path / RESULTS)
    (tmp_path / RESULTS).write_text('{"format": 1,')
    with pytest.raises(CraftError, match="is not valid JSON"):
        TransferResults.load(tmp_path)


def test_unequal_classes_are_recognised() -> None:
    entry = {"accuracy": 50.0, "heldout": False}
    equal = SCORES | {"classes": {"a": {**entry, "n": 2}, "b": {**entry, "n": 2}}}
    unequal = SCORES | {"classes": {"a": {**entry, "n": 3}, "b": {**entry, "n": 1}}}
    assert not Scores.model_validate(equal).unequal
    assert Scores.model_validate(unequal).unequal


def test_the_gain_is_paired() -> None:
    # The same hundred questions, half of them hopeless: each score alone is uncertain by 10 points.
    before = [False] * 50 + [True] * 50
    after = [False] * 40 + [True] * 60
    found = Gain.between(before, after)
    assert found.all == pytest.approx(10)
    assert 0 < found.interval[0] < 10 < found.interval[1] < 17
    assert found.certain
    assert not Gain.between(before, before).certain
    assert Gain.between(after, before).certain


def test_questions_about_one_image_count_as_one_sample() -> None:
    # 20 images, 10 of which gain: 16 questions on each do not make 320 independent samples.
    after = [image < 10 for image in range(20) for _ in range(16)]
    images = [image for image in range(20) for _ in range(16)]
    found = Gain.between([False] * 320, after, images)
    spread = 100 * np.sqrt(0.5 * 0.5 / 20)
    assert found.all == 50
    assert found.interval[0] == pytest.approx(50 - 1.96 * spread, abs=4)
    assert found.interval[1] == pytest.approx(50 + 1.96 * spread, abs=4)


def test_images_with_more_questions_count_more() -> None:
    found = Gain.between([False] * 4, [True, True, True, False], images=[0, 0, 0, 1])
    assert found.all == 75
    assert found.interval[0] < 75 < found.interval[1]


def test_results_and_predictions_change_together(tmp_path):
    (tmp_path / PREDICTIONS).write_text("old")
    (tmp_path / RESULTS).write_text("old")
    (tmp_path / "run.yaml").write_text("mine")

    def rewrite() -> None:
        with written_together(tmp_path) as (written, predictions):
            predictions.write("new")
            (written / RESULTS).write_text("new")
            assert (tmp_path / PREDICTIONS).read_text() == "old"
            if fails:
                raise KeyError

    fails = True
    with pytest.raises(KeyError):
        rewrite()
    assert [(tmp_path / name).read_text() for name in (PREDICTIONS, RESULTS)] == ["old", "old"]
    fails = False
    rewrite()
    assert [(tmp_path / name).read_text() for name in (PREDICTIONS, RESULTS)] == ["new", "new"]
    assert sorted(x.name for x in tmp_path.iterdir()) == [PREDICTIONS, RESULTS, "run.yaml"]
