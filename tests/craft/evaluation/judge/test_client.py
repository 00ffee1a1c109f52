"""The client against a local server: what it sends, what it pays, what it retries."""

import json
import math
import time

import pytest

from craft.errors import CraftError
from craft.evaluation.judge.client import (
    REPLY_TOKENS,
    BudgetReached,
    Judge,
    JudgeUnavailable,
    Price,
)
from craft.evaluation.judge.protocol import UnreadableVerdict
from tests.craft.evaluation.judge.server import (
    USAGE,
    VERDICT,
    answer,
    completion,
    hang_up,
    refuse,
)

#: What USAGE costs, and a lower bound of the estimate for a request of unknown usage.
PAID, AT_WORST = (500 * 1 + 60 * 5) / 1e6, REPLY_TOKENS * 5 / 1e6


def judge_at(server, budget=1.0, **options):
    options = {"key": "none", "timeout": 5, "url": server.url, **options}
    return Judge("stub", Price(read=1.0, written=5.0), budget, **options)


def marked(judge):
    return judge.mark("What?", "B", "B, because.")


def until_the_budget_ends(judge):
    """Count the verdicts until the budget is reached."""
    for count in range(100):
        try:
            marked(judge)
        except BudgetReached:
            return count
    raise AssertionError("the budget is never reached")


def test_marks_and_pays(server):
    judge = judge_at(server)
    assert marked(judge).faithfulness == 8
    assert judge.spent == pytest.approx(PAID)
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["authorization"] == "Bearer none"
    sent = server.requests[0]
    assert sent["model"] == "stub"
    assert sent["temperature"] == 0.6
    assert sent["max_tokens"] == REPLY_TOKENS
    assert sent["response_format"]["json_schema"]["name"] == "verdict"
    assert "B, because." in sent["messages"][1]["content"]


def test_server_and_key_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234\n")  # as `$(cat key)` leaves it in some shells
    assert marked(Judge("stub", Price(0, 0), 0)).correct
    assert server.headers[0]["authorization"] == "Bearer sk-1234"


@pytest.mark.parametrize("trouble", [refuse(429), refuse(500), refuse(503)])
def test_temporary_errors_are_retried_and_cost_nothing(server, trouble):
    server.script = [trouble, trouble]
    judge = judge_at(server)
    assert marked(judge).correct
    assert len(server.requests) == 3
    assert judge.spent == pytest.approx(PAID)


@pytest.mark.parametrize("trouble", [hang_up, refuse(502), refuse(504)])
def test_lost_replies_count_as_paid(server, trouble):
    server.script = [trouble, trouble]
    judge = judge_at(server)
    assert marked(judge).correct
    assert len(server.requests) == 3
    assert judge.spent > PAID + 2 * AT_WORST


def test_a_server_may_ask_for_a_pause_but_not_for_a_day(server):
    server.script = [refuse(429, retry_after_ms="nan", retry_after=asked) for asked in ("86400",)]
    server.script += [refuse(503, retry_after_ms="-5", retry_after="inf")]
    began = time.perf_counter()
    assert marked(judge_at(server)).correct
    assert time.perf_counter() - began < 2
    server.script = [refuse(429, retry_after_ms="", retry_after="0.3")]
    began = time.perf_counter()
    assert marked(judge_at(server)).correct
    assert time.perf_counter() - began >= 0.3


@pytest.mark.parametrize(
    "body",
    [
        completion("Looks right to me."),
        completion("[" * 100_000),
        completion('{"a":' * 100_000),
        completion([{"type": "text", "text": "{}"}]),
        completion(choices=[]),
        completion(choices={"0": 1}),
        completion(choices=[None]),
        completion(choices=[{"message": "B"}]),
    ],
)
def test_unreadable_replies_are_requested_again_and_paid(server, body):
    server.script = [answer(body)]
    judge = judge_at(server)
    assert marked(judge).correct
    assert judge.spent == pytest.approx(2 * PAID)
    server.script = [answer(body)] * 3
    with pytest.raises(UnreadableVerdict) as caught:
        marked(judge)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "500",
        {},
        {"prompt_tokens": -(10**9), "completion_tokens": 1},
        {"prompt_tokens": 500, "completion_tokens": -60},
        {"prompt_tokens": math.nan, "completion_tokens": 60},
        {"prompt_tokens": math.inf, "completion_tokens": 60},
        {"prompt_tokens": -math.inf, "completion_tokens": 60},
        {"prompt_tokens": "500", "completion_tokens": "60"},
        {"prompt_tokens": 500.5, "completion_tokens": 60},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 10**400, "completion_tokens": 60},
        {"prompt_tokens": [500], "completion_tokens": None},
    ],
)
def test_usage_that_cannot_be_true_counts_as_the_worst_case(server, usage):
    server.script = [answer(completion(usage=usage))]
    judge = judge_at(server)
    assert marked(judge).faithfulness == 8  # a verdict that was paid for is used
    assert judge.spent > AT_WORST
    assert judge.spent < 20 * AT_WORST
    spent = judge.spent
    server.script = [answer(completion(usage=usage))] * 1000
    judge.budget = 10 * spent
    assert until_the_budget_ends(judge) == 9
    assert judge.spent <= judge.budget
    assert len(server.requests) == 10


def test_a_server_that_exceeded_the_token_limit_is_expected_to_do_so_again(server):
    greedy = USAGE | {"completion_tokens": 100 * REPLY_TOKENS}
    server.script = [answer(completion(usage=greedy))] * 9
    judge = judge_at(server, budget=0.5)
    assert until_the_budget_ends(judge) < 9
    assert judge.spent <= 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_permanent_errors_are_raised_at_once(server, status):
    server.script = [refuse(status, "no\r\nway \x1b[31m")]
    judge = judge_at(server)
    with pytest.raises(JudgeUnavailable, match=rf"{status} .*: no way \\x1b\[31m") as caught:
        marked(judge)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1
    assert judge.spent == 0


def test_a_missing_page_says_what_to_check(server):
    server.script = [answer(b"<html>", 404)]
    with pytest.raises(JudgeUnavailable, match="up to and including /v1"):
        marked(judge_at(server))


def test_lasting_errors_are_raised(server):
    server.script = [refuse(500)] * 10
    with pytest.raises(JudgeUnavailable, match="500 Internal Server Error"):
        marked(judge_at(server, retries=3))
    assert len(server.requests) == 4


def test_retries_stop_at_the_budget(server):
    server.script = [hang_up] * 10
    judge = judge_at(server, budget=0.012)
    with pytest.raises(BudgetReached, match="raise the budget"):
        marked(judge)
    assert 1 < len(server.requests) < 6
    assert judge.spent <= 0.012


def test_a_missing_key_is_reported(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeUnavailable, match=r"set OPENAI_API_KEY"):
        Judge("stub", Price(0, 0), 1)


@pytest.mark.parametrize("key", ["sk-12 34", "sk-1234\r\nX-Evil: 1", "sk-1234é", "sk-\x1b[31m"])
def test_malformed_keys_are_refused_without_showing_them(key):
    with pytest.raises(JudgeUnavailable, match="OPENAI_API_KEY contains") as caught:
        Judge("stub", Price(0, 0), 1, key=key)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 500, 302])
def test_the_key_is_never_shown(server, status):
    key = "sk-proj-abcdefgh"
    server.script = [refuse(status, f"wrong key: {key}", location=f"/?key={key}")] * 6
    with pytest.raises(JudgeUnavailable) as caught:
        marked(judge_at(server, key=key))
    assert key not in str(caught.value)
    assert key not in repr(judge_at(server, key=key))


@pytest.mark.parametrize(
    "url",
    [
        "http:/one-slash",
        "ftp://x/v1",
        "localhost:8000/v1",
        "http://",
        "http://[::1/v1",
        "http://x:99999/v1",
        "http://x y/v1",
        "http://x/v1\r\nX-Evil: 1",
        "http://é/v1",
    ],
)
def test_malformed_urls_are_refused(url, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(CraftError, match="is not a server's URL") as caught:
        Judge("stub", Price(0, 0), 1, key="none")
    assert "\n" not in str(caught.value)


def test_a_url_with_a_password_is_refused_without_showing_it():
    with pytest.raises(CraftError, match="user name or password") as caught:
        Judge("stub", Price(0, 0), 1, key="none", url="https://me:hunter2@x/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1])
def test_amounts_are_finite_and_not_negative(value):
    with pytest.raises(CraftError, match="US dollars"):
        Judge("stub", Price(0, 0), value, key="none")
    with pytest.raises(CraftError, match="US dollars"):
        Price(value, 0)
    with pytest.raises(CraftError, match="US dollars"):
        Price(0, value)


def test_lone_surrogates_and_separators_in_questions_are_sent(server):
    judge_at(server).mark("\ud800 \u2028 \x85 \0", "B", "B")
    assert "\ud800 \u2028 \x85 \0" in server.requests[0]["messages"][1]["content"]
    assert json.loads(completion())["choices"][0]["message"]["content"] == json.dumps(VERDICT)
