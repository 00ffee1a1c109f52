"""``craft judge`` with a local server: errors are one line, paid verdicts stay, keys are hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from craft.evaluation.judge import client
from tests.craft.cli.commands import craft_command, done, one_error_line
from tests.craft.evaluation.judge.server import ROWS, Server, answer, completion, hang_up, refuse

pytestmark = pytest.mark.usefixtures("quiet_process")

KEY = "sk-proj-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def given(server: Server, tmp_path: Path) -> list[object]:
    """Arguments of the command: four answers to mark and a budget of two dollars."""
    group = {"part": "justified", "model": "[/x]\x1b[31m", "condition": "keep\u2028"}
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(group | row) + "\n" for row in ROWS))
    options = ["--model", "stub", "--budget", 2, "--price-read", 1, "--price-written", 5]
    return ["judge", predictions, "--out", tmp_path / "v.jsonl", "--url", server.url, *options]


def test_marks_are_shown_with_their_cost(server: Server, given: list[object]) -> None:
    said = done(craft_command(*given))
    assert '"n": 4' in said
    assert r"[/x]\u001b[31m" in said
    assert "spent 0.0032 US dollars" in said
    assert KEY not in said


def test_what_held_no_verdict_is_counted(server: Server, given: list[object]) -> None:
    server.script = [answer(completion("8/10"))] * 3
    said = done(craft_command(*given))
    assert "answers without a verdict: 1" in said
    assert '"unreadable": 1' in said
    assert "without a verdict" not in done(craft_command(*given))  # it was asked again
    assert len(server.requests) == 3 + 3 + 1


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ([answer(completion())] + [answer(b"<html>")] * 6, "is this an OpenAI server's URL"),
        ([answer(completion())] + [hang_up] * 6, "the connection broke"),
        ([answer(completion()), refuse(401, f"no such key: {KEY}")], "no such key: [key]"),
        ([answer(completion()), refuse(404, "no model")], "404 Not Found: no model"),
    ],
)
def test_trouble_is_one_line_and_the_same_command_resumes(
    server: Server, given: list[object], script: list, complaint: str, tmp_path: Path
) -> None:
    server.script = script
    result = craft_command(*given)
    line = one_error_line(result)
    assert complaint in line
    assert KEY not in result.output
    verdicts = [json.loads(x) for x in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert sum("verdict" in verdict for verdict in verdicts) == 1
    asked = len(server.requests)
    assert '"n": 4' in done(craft_command(*given))
    assert len(server.requests) == asked + 3


def test_the_budget_ends_in_one_line(server: Server, given: list[object]) -> None:
    given[given.index(2)] = 0.004
    for _ in range(2):  # it is not spent again by the next run
        assert "raise the budget" in one_error_line(craft_command(*given))
    assert 0 < len(server.requests) < 4


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_money_is_a_number(server: Server, given: list[object], value: str) -> None:
    given[given.index(2)] = value
    one_error_line(craft_command(*given))
    assert server.requests == []
