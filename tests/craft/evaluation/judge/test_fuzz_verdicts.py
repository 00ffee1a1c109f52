"""Damaged replies of a judge and damaged verdict files give one-line errors."""

import json
from typing import Any

import pytest

from craft.evaluation.judge import client
from craft.evaluation.judge.client import BudgetReached, Judge, JudgeUnavailable, Price
from craft.evaluation.judge.post import Reply
from craft.evaluation.judge.protocol import UnreadableVerdict, Verdict, parse
from craft.evaluation.judge.run import judge_predictions, mark_all
from tests.craft.evaluation.judge.server import completion
from tests.craft.fuzzing import ROUNDS, damaged, fuzz, fuzz_file, retyped

MARKS = {
    "correct": True,
    "explanation_present": True,
    "faithfulness": 8,
    "relevance": 7,
    "verbosity": 1,
}
ROW = {"part": "justified", "model": "m", "condition": "c", "prompt": "Which?", "answer": "a"}


class _Marker:
    """A judge that gives every answer the same marks."""

    model = "marker"
    spent = 0.0

    def mark(self, question, answer, reply):
        assert all(isinstance(x, str) for x in (question, answer, reply))
        return Verdict(**MARKS)


MARKER: Any = _Marker()


@ROUNDS
def test_replies(rounds):
    reply = b"Here: " + json.dumps(MARKS).encode()
    fuzz(reply, lambda x: parse(x.decode("utf-8", "replace")), UnreadableVerdict, rounds, "verdict")


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_answers_of_servers(monkeypatch, rounds, damage):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0)
    judge = Judge("stub", Price(1, 5), budget=1, key="none", retries=0)

    def mark(body):
        judge.spent = 0.0
        monkeypatch.setattr(judge, "_post", lambda _: Reply(200, {}, body))
        try:
            assert isinstance(judge.mark("Which?", "a", "a"), Verdict)
        finally:
            assert judge.spent > 0  # whatever usage the server reports

    refusals = (UnreadableVerdict, JudgeUnavailable, BudgetReached)
    fuzz(completion(), mark, refusals, rounds, f"completion {damage.__name__}", damage)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_stored_verdicts(tmp_path, damage, rounds):
    path = tmp_path / "verdicts.jsonl"
    rows = [ROW | {"id": str(i), "given": "a, for it is"} for i in range(4)]
    known = mark_all(rows, MARKER, path)

    def read(case):
        found = mark_all(rows, MARKER, path)
        lost = {str(i) for i, line in enumerate(case.splitlines()) if b'"problem"' in line}
        assert known.keys() - found.keys() <= lost
        assert all(isinstance(x, Verdict) for x in found.values())

    fuzz_file(path, read, rounds, damage, folder=tmp_path)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_predictions(tmp_path, damage, rounds):
    path = tmp_path / "predictions.jsonl"
    rows = [ROW | {"id": str(i), "given": "a, for it is"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "verdicts.jsonl"

    def read(case):
        judge_predictions(path, MARKER, out)
        out.unlink()

    fuzz_file(path, read, rounds, damage, folder=tmp_path)
