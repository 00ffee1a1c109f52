"""Verdicts are written as they come, with their cost; nothing that was paid for is lost."""

import json
import math
import subprocess
import sys

import pytest

from craft.errors import CraftError
from craft.evaluation.judge.client import BudgetReached, Judge, JudgeUnavailable, Price
from craft.evaluation.judge.run import judge_predictions, mark_all
from craft.evaluation.judge.verdict_file import VerdictFile
from craft.runtime.json_cards import with_checksum
from tests.craft.evaluation.judge.server import ROWS, answer, completion, hang_up, refuse
from tests.craft.evaluation.judge.test_client import PAID, judge_at

PROSE = answer(completion("Looks right to me."))


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_the_budget_is_never_exceeded(server, tmp_path):
    out = tmp_path / "v.jsonl"
    judge = judge_at(server, budget=0.005)
    with pytest.raises(BudgetReached, match="raise the budget"):
        mark_all(ROWS, judge, out)
    assert 0 < judge.spent <= 0.005
    paid = len(server.requests)
    assert 0 < paid < 4
    # The budget covers all runs that write to the file, so the same one buys nothing more.
    again = judge_at(server, budget=0.005)
    with pytest.raises(BudgetReached):
        mark_all(ROWS, again, out)
    assert len(server.requests) == paid
    assert again.spent == pytest.approx(judge.spent)
    # With a larger budget only missing verdicts are requested.
    more = judge_at(server)
    assert len(mark_all(ROWS, more, out)) == 4
    assert len(server.requests) == 4
    assert more.spent == pytest.approx(4 * PAID)


def test_an_interrupted_run_loses_nothing(server, tmp_path):
    out = tmp_path / "v.jsonl"
    server.script = [answer(completion()), refuse(400)]
    with pytest.raises(JudgeUnavailable):
        mark_all(ROWS, judge_at(server), out)
    assert len(lines(out)) == 1
    with out.open("a") as file:
        file.write('{"id": "q1", "jud')  # killed while writing
    assert set(mark_all(ROWS, judge_at(server), out)) == {"q0", "q1", "q2", "q3"}
    assert len(lines(out)) == 4
    assert len(server.requests) == 2 + 3


def test_a_verdict_that_lacks_only_its_line_feed_is_kept(server, tmp_path):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS, judge_at(server), out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-1])
    assert len(mark_all(ROWS, judge_at(server), out)) == 4
    assert out.read_bytes() == whole
    assert len(server.requests) == 4


def test_the_cost_of_lost_replies_is_recorded(server, tmp_path):
    out = tmp_path / "v.jsonl"
    server.script = [answer(completion()), *[hang_up] * 3]
    judge = judge_at(server, retries=2)
    with pytest.raises(JudgeUnavailable):
        mark_all(ROWS, judge, out)
    assert "interrupted" in lines(out)[1]["problem"]
    assert sum(line["cost"] for line in lines(out)) == pytest.approx(judge.spent)
    assert judge.spent > PAID + 3 * 300 * 5 / 1e6
    later = judge_at(server)
    assert len(mark_all(ROWS, later, out)) == 4  # q1 is asked again
    assert later.spent == pytest.approx(judge.spent + 3 * PAID)


def test_ctrl_c_during_a_request_counts_its_cost(server, tmp_path):
    out = tmp_path / "v.jsonl"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    judge = judge_at(server)
    judge._post = interrupt
    with pytest.raises(KeyboardInterrupt):
        mark_all(ROWS, judge, out)
    (line,) = lines(out)
    assert line["problem"] == "interrupted: KeyboardInterrupt"
    assert line["cost"] == judge.spent > 300 * 5 / 1e6


def test_unreadable_rows_are_recorded_and_counted_as_such(server, tmp_path):
    out = tmp_path / "v.jsonl"
    row = {"part": "justified", "model": "m", "condition": "c"}
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(row | case) + "\n" for case in ROWS[:2]))
    server.script = [PROSE] * 3
    found = judge_predictions(predictions, judge_at(server), out)["m/c"]
    assert (found["n"], found["unreadable"]) == (1, 1)
    assert "not a verdict" in lines(out)[0]["problem"]


def test_verdicts_of_another_judge_are_refused(server, tmp_path):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:1], judge_at(server), out)
    other = Judge("other", Price(0, 0), 1, url=server.url, key="none")
    with pytest.raises(CraftError, match="'stub', not of 'other'"):
        mark_all(ROWS, other, out)


def test_a_server_that_is_down_is_one_line_and_loses_nothing(server, tmp_path):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:2], judge_at(server), out)
    before = out.read_bytes()
    judge = judge_at(server, retries=1)
    server.stop()
    with pytest.raises(JudgeUnavailable, match=r"does not answer for 'stub'.*kept") as caught:
        mark_all(ROWS, judge, out)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"not json\n", b'{"id": 3}\n', b"\xff\xfe\n", b"[]\n", b"my notes", b"[" * 9999 + b"\n"],
)
def test_a_file_of_something_else_is_left_alone(server, tmp_path, content):
    out = tmp_path / "v.jsonl"
    out.write_bytes(content)
    with pytest.raises(CraftError, match=r"v.jsonl:1: not a verdict") as caught:
        mark_all(ROWS, judge_at(server), out)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == content
    assert server.requests == []


@pytest.mark.parametrize(
    "change",
    [
        {"id": "q9"},
        {"cost": 0.0},
        {"verdict": {**json.loads(json.dumps(ROWS[0])), "correct": True}},
        {"more": 1},
    ],
)
def test_edited_verdicts_are_refused(server, tmp_path, change):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:1], judge_at(server), out)
    (line,) = lines(out)
    out.write_text(json.dumps(line | change) + "\n")
    with pytest.raises(CraftError, match=r"v.jsonl:1: not a verdict: .*checksum"):
        mark_all(ROWS, judge_at(server), out)


@pytest.mark.parametrize("cost", [math.nan, -1.0, math.inf, 1, "1", None, True])
def test_a_cost_that_would_defeat_the_budget_is_refused(server, tmp_path, cost):
    out = tmp_path / "v.jsonl"
    record = with_checksum({"id": "q0", "judge": "stub", "cost": cost, "problem": "none"})
    out.write_text(json.dumps(record) + "\n")
    with pytest.raises(CraftError, match="its cost is"):
        mark_all(ROWS, judge_at(server), out)


@pytest.mark.parametrize("id", ["a\u2028b", "a\x85b", "a\x1cb\x0bc", "a\nb\r", "\ud800", "\0", ""])
def test_ids_with_any_characters_take_one_line_and_are_found_again(server, tmp_path, id):
    out = tmp_path / "v.jsonl"
    rows = [ROWS[0] | {"id": id}, ROWS[1]]
    done = mark_all(rows, judge_at(server), out)
    assert set(done) == {id, "q1"}
    assert len(out.read_text().splitlines()) == 2  # whatever a reader takes for a line break
    assert mark_all(rows, judge_at(server), out) == done
    assert len(server.requests) == 2


def test_duplicate_ids_are_refused_before_anything_is_paid(server, tmp_path):
    row = {"part": "justified", "model": "m", "condition": "c"} | ROWS[0]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    with pytest.raises(CraftError, match="two answers with id 'm/c/q0'"):
        judge_predictions(predictions, judge_at(server), tmp_path / "v.jsonl")
    assert server.requests == []


def test_too_little_disk_space_is_reported_before_anything_is_paid(server, tmp_path, monkeypatch):
    monkeypatch.setattr("craft.runtime.whole_file.room", lambda path: 10)
    with pytest.raises(OSError, match="10 bytes are free"):
        mark_all(ROWS, judge_at(server), tmp_path / "v.jsonl")
    assert server.requests == []


def test_a_line_that_could_not_be_written_leaves_the_file_whole(server, tmp_path):
    """A limit on the file size stands in for a full disk."""
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:1], judge_at(server), out)
    code = f"""
import resource, signal
from pathlib import Path
from craft.evaluation.judge.verdict_file import VerdictFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({out.stat().st_size + 20},) * 2)
with VerdictFile(Path({str(out)!r}), "stub") as file:
    try:
        file.add("q1", 0.1, None, "none")
    except OSError as error:
        print(error)
"""
    before = out.read_bytes()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "could not be written" in said.stdout
    assert "'q1', which was paid for" in said.stdout
    assert out.read_bytes() == before


def test_two_runs_do_not_write_to_one_file(server, tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "v.jsonl"
    with (
        VerdictFile(out, "stub"),
        pytest.raises(CraftError, match="another process is writing verdicts"),
    ):
        mark_all(ROWS, judge_at(server), out)
    assert server.requests == []
    assert len(mark_all(ROWS, judge_at(server), out)) == 4


def test_a_folder_or_device_is_not_a_file_of_verdicts(server, tmp_path):
    for out in (tmp_path, "/dev/null"):
        with pytest.raises(CraftError, match="is not a file"):
            mark_all(ROWS, judge_at(server), type(tmp_path)(out))
