"""The client against a local server that misbehaves in every way a request asks it to."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from craft.evaluation.judge import client
from craft.evaluation.judge.client import BudgetReached, Judge, JudgeUnavailable, Price, mark_all
from craft.evaluation.judge.protocol import UnreadableVerdict

pytest.importorskip("openai")

VERDICT = {
    "correct": True,
    "explanation_present": True,
    "faithfulness": 8,
    "relevance": 7,
    "verbosity": 1,
}
ROWS = [{"id": f"q{i}", "prompt": "What?", "answer": "B", "given": "B, because."} for i in range(4)]


class Server:
    """Replies as `script` says, one entry a request, and well once it is used up."""

    def __init__(self):
        self.script: list = []
        self.requests: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                step = outer.script.pop(0) if outer.script else "well"
                outer.play(self, step)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def play(self, request, step) -> None:
        status, headers = 200, {}
        said = json.dumps(VERDICT)
        usage = {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}
        if isinstance(step, int):
            status, headers = step, {"retry-after-ms": "1"}
        elif step == "hang up":
            request.connection.close()
            return
        elif step == "sleep":
            time.sleep(1)
        elif step == "prose":
            said = "Looks right to me."
        elif step == "no usage":
            usage = None
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": None if step == "null" else said},
        }
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "stub",
            "choices": [] if step == "no choice" else [choice],
            "usage": usage,
        }
        body = b"<html>" if step == "html" else json.dumps(answer).encode()
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    # Every pause between retries is the library's; none of them is what is tested.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.002)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def judge_at(server, budget=1.0, **options):
    price = Price(read=1.0, written=5.0)
    options = {"key": "none", "timeout": 0.5, **options}
    return Judge("stub", price, budget, url=server.url, **options)


def test_marks_and_pays(server):
    judge = judge_at(server)
    assert judge.mark("What?", "B", "B, because.").faithfulness == 8
    assert judge.spent == pytest.approx((500 * 1 + 60 * 5) / 1e6)
    sent = server.requests[0]
    assert sent["temperature"] == 0.6
    assert sent["response_format"]["json_schema"]["name"] == "verdict"


@pytest.mark.parametrize("trouble", [429, 500, 503, "hang up", "sleep"])
def test_passing_trouble_is_sat_out(server, trouble):
    server.script = [trouble, trouble]
    assert judge_at(server).mark("What?", "B", "B").correct
    assert len(server.requests) == 3


@pytest.mark.parametrize("trouble", ["prose", "null", "no choice"])
def test_unreadable_replies_are_asked_again_and_paid(server, trouble):
    server.script = [trouble]
    judge = judge_at(server)
    assert judge.mark("What?", "B", "B").correct
    assert judge.spent == pytest.approx(2 * 800 / 1e6)
    server.script = [trouble] * 3
    with pytest.raises(UnreadableVerdict):
        judge.mark("What?", "B", "B")


def test_pages_of_a_proxy_are_no_verdict(server):
    server.script = ["html"] * 3
    judge = judge_at(server)
    with pytest.raises(UnreadableVerdict, match="did not answer in JSON"):
        judge.mark("What?", "B", "B")
    assert judge.spent > 3 * 300 * 5 / 1e6


@pytest.mark.parametrize("trouble", [400, 401, 404])
def test_what_will_not_pass_is_an_error_at_once(server, trouble):
    server.script = [trouble]
    with pytest.raises(JudgeUnavailable):
        judge_at(server).mark("What?", "B", "B")
    assert len(server.requests) == 1


def test_trouble_that_lasts_is_an_error(server):
    server.script = [500] * 10
    with pytest.raises(JudgeUnavailable):
        judge_at(server, retries=3).mark("What?", "B", "B")
    assert len(server.requests) == 4


def test_missing_usage_is_estimated_from_above(server):
    server.script = ["no usage"]
    judge = judge_at(server)
    judge.mark("What?", "B", "B")
    assert judge.spent > 300 / 1e6


def test_the_budget_is_never_exceeded(server, tmp_path):
    judge = judge_at(server, budget=0.004)
    with pytest.raises(BudgetReached, match="raise the budget"):
        mark_all(ROWS, judge, tmp_path / "v.jsonl")
    assert 0 < judge.spent <= 0.004
    paid = len(server.requests)
    assert 0 < paid < 4
    # Going on with more money asks only for what is missing.
    done = mark_all(ROWS, judge_at(server), tmp_path / "v.jsonl")
    assert len(done) == 4
    assert len(server.requests) == 4


def test_a_run_that_breaks_off_loses_nothing(server, tmp_path):
    out = tmp_path / "v.jsonl"
    server.script = ["well", 400]
    with pytest.raises(JudgeUnavailable):
        mark_all(ROWS, judge_at(server), out)
    with out.open("a") as file:
        file.write('{"id": "q1", "jud')  # killed while it wrote
    assert set(mark_all(ROWS, judge_at(server), out)) == {"q0", "q1", "q2", "q3"}
    assert len(out.read_text().splitlines()) == 4


def test_unreadable_rows_are_recorded_and_not_counted(server, tmp_path):
    out = tmp_path / "v.jsonl"
    server.script = ["prose"] * 3
    done = mark_all(ROWS[:2], judge_at(server), out)
    assert set(done) == {"q1"}
    assert "no verdict" in json.loads(out.read_text().splitlines()[0])["problem"]


def test_verdicts_of_another_judge_are_refused(server, tmp_path):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:1], judge_at(server), out)
    other = Judge("other", Price(0, 0), 1, url=server.url, key="none")
    with pytest.raises(ValueError, match="'stub', not of 'other'"):
        mark_all(ROWS, other, out)


def test_estimates_err_upwards():
    assert client._tokens("äöü") == 3
    assert client._tokens("") == 0


def test_a_server_that_is_down_is_one_line_and_loses_nothing(server, tmp_path):
    out = tmp_path / "v.jsonl"
    mark_all(ROWS[:2], judge_at(server), out)
    before = out.read_bytes()
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(JudgeUnavailable, match=r"does not answer for 'stub'.*kept") as caught:
        mark_all(ROWS, judge_at(server, retries=1), out)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == before


def test_no_key_is_told(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeUnavailable, match=r"set OPENAI_API_KEY"):
        Judge("stub", Price(0, 0), 1)


@pytest.mark.parametrize(
    "content",
    [b"not json\n", b'{"id": 3}\n', b"\xff\xfe\n", b"[]\n", b"my notes", b"[" * 9999 + b"\n"],
)
def test_a_file_that_holds_something_else_is_left_alone(server, tmp_path, content):
    out = tmp_path / "v.jsonl"
    out.write_bytes(content)
    with pytest.raises(ValueError, match=r"v.jsonl:1: not a verdict") as caught:
        mark_all(ROWS, judge_at(server), out)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == content
    assert server.requests == []
