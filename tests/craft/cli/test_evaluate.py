"""Every command that examines a pack, on tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from craft.evaluation.bootstrap import interval
from craft.evaluation.judge.client import Judge
from craft.evaluation.judge.protocol import Verdict
from craft.evaluation.results import PREDICTIONS, EvaluationResults
from craft.family.family import ModelFamily
from tests.craft.cli.commands import FEW, craft_command, done

pytestmark = pytest.mark.usefixtures("quiet_process")


@pytest.fixture(scope="module")
def justified(pack: Path, tiny_models: ModelFamily, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("justified")
    result = craft_command(
        "evaluate", pack, "--out", out, "--models", tiny_models.directory, "--likelihood",
        "--justify", "--llm", "llama", "--keep-ratio", "0.5", *FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


def test_evaluate_saves_every_second_number(justified: Path) -> None:
    conditions = json.loads((justified / "results.json").read_text())["models"]["llama"]
    assert list(conditions) == ["pretrained", "keep_0.5"]
    scores = conditions["keep_0.5"]
    assert 0 <= scores["likelihood"] <= 100
    assert scores["justified"]["n"] == 6
    assert sum(entry["n"] for entry in scores["classes"].values()) == 6
    assert scores["intervals"]["all"][0] <= scores["all"] <= scores["intervals"]["all"][1]
    rows = [json.loads(x) for x in (justified / "predictions.jsonl").read_text().splitlines()]
    asked = [row["prompt"] for row in rows if row["part"] == "justified"]
    assert len(asked) == 2 * 6
    assert all(prompt.endswith("Justify your answer.") for prompt in asked)


def test_evaluate_compares_with_the_pretrained_encoder(
    pack: Path, tiny_models: ModelFamily, guessing: None, tmp_path: Path
) -> None:
    options = ["--models", tiny_models.directory, "--general-images", 3, "--keep-ratio", 1]
    said = done(craft_command("evaluate", pack, "--out", tmp_path / "with", *options))
    assert "pretrained" in said
    assert "gain (95 % interval)" in said
    found = EvaluationResults.load(tmp_path / "with")
    rows = [json.loads(x) for x in (tmp_path / "with" / PREDICTIONS).read_text().splitlines()]
    right = {
        (row["model"], row["condition"], row["id"]): row["right"]
        for row in rows
        if row["part"] == "domain"
    }
    for name, conditions in found.models.items():
        before, after = conditions["pretrained"], conditions["keep_1.0"]
        assert before.gain is None
        assert after.gain is not None
        assert before.all is not None
        assert after.all is not None
        assert after.gain.all == pytest.approx(after.all - before.all)
        # Question by question, from the predictions that were written.
        pairs = [
            100.0 * (after_right - right[name, "pretrained", key])
            for (model, condition, key), after_right in right.items()
            if (model, condition) == (name, "keep_1.0")
        ]
        assert after.gain.interval == interval(pairs)
        assert before.n["all"] == len(pairs)

    done(craft_command("evaluate", pack, "--out", tmp_path / "no", *options, "--no-pretrained"))
    without = EvaluationResults.load(tmp_path / "no")
    for name, conditions in without.models.items():
        assert list(conditions) == ["keep_1.0"]
        assert conditions["keep_1.0"].gain is None
        assert conditions["keep_1.0"].all == found.models[name]["keep_1.0"].all


def test_transfer_compares_with_the_pretrained_encoder(
    pack: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    result = craft_command(
        "transfer", pack, "--out", tmp_path / "t", *FEW,
        "--models", tiny_models.directory,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "t" / "results.json").read_text())
    assert list(results["matrix"]) == ["pretrained", str(pack)]
    for name in ("qwen2", "llama"):
        before, after = (row[name] for row in results["matrix"].values())
        assert before["gain"] is None
        assert after["gain"]["all"] == pytest.approx(after["all"] - before["all"])
        low, high = after["gain"]["interval"]
        assert low <= after["gain"]["all"] <= high
        assert after["surrogate"] == "qwen2"
    rows = (tmp_path / "t" / "predictions.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 2 * (6 + 3)


def test_transfer_refuses_the_same_pack_twice(
    pack: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    result = craft_command(
        "transfer", pack, pack, "--out", tmp_path / "t", "--models", tiny_models.directory
    )
    assert result.exit_code == 2
    assert "a pack is named twice" in result.stderr


def test_pictures_are_drawn(pack: Path, tiny_models: ModelFamily, tmp_path: Path) -> None:
    result = craft_command(
        "pictures", pack, "--out", tmp_path / "p", "--count", "2", "--keep-ratio", "0.5",
        "--models", tiny_models.directory,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for name in ("code_maps.png", "codes.png"):
        assert (tmp_path / "p" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("suite", "ending"), [("lmms-eval", "yaml"), ("vlmevalkit", "tsv")])
def test_tasks_are_exported(
    pack: Path, tiny_models: ModelFamily, tmp_path: Path, suite: str, ending: str
) -> None:
    result = craft_command(
        "export", pack, "--to", suite, "--out", tmp_path, "--models", tiny_models.directory
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / f"craft_flags.{ending}").is_file()


def judging(predictions: Path, out: Path) -> Result:
    return craft_command(
        "judge", predictions, "--out", out, "--model", "stub", "--budget", "1", "--price-read",
        "1", "--price-written", "1", "--most", "4",
    )  # fmt: skip


def test_judge_marks_justified_answers(
    justified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    seen: list[str] = []

    def mark(self: Judge, question: str, answer: str, reply: str) -> Verdict:
        seen.append(question)
        return Verdict(
            correct=True, explanation_present=True, faithfulness=6, relevance=5, verbosity=2
        )

    monkeypatch.setattr(Judge, "mark", mark)
    for _ in range(2):  # the second run asks nothing
        result = judging(justified / "predictions.jsonl", tmp_path / "v.jsonl")
        assert result.exit_code == 0, result.output
        assert '"overall": 10.0' in result.output
        assert "llama/keep_0.5" in result.output
        assert "llama/pretrained" in result.output
    assert len(seen) == 2 * 4
    assert len((tmp_path / "v.jsonl").read_text().splitlines()) == 2 * 4


def test_judge_needs_justified_answers(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    row = {"part": "domain", "model": "m", "condition": "c", "id": "1"}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    result = judging(tmp_path / "predictions.jsonl", tmp_path / "v.jsonl")
    assert result.exit_code == 2
    assert "write them with craft evaluate --justify" in result.stderr
