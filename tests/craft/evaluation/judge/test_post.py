"""Answers that never end, trickle in, are cut short or redirect give a one-line error in time."""

import json
import socket
import ssl
import time

import pytest

from craft.errors import CraftError
from craft.evaluation.judge.client import MOST_BYTES, Judge, JudgeUnavailable, Price
from tests.craft.evaluation.judge.server import Server, answer, completion, hang_up, raw

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECONDS = 1.5


def refused(url, retries=1, key="sk-secret-key"):
    """The error line and the cost of marking through a server that never answers properly."""
    judge = Judge("stub", Price(1, 5), 1, url=url, key=key, retries=retries, timeout=SECONDS)
    began = time.perf_counter()
    with pytest.raises(JudgeUnavailable) as caught:
        judge.mark("What?", "B", "B")
    assert time.perf_counter() - began < (1 + retries) * (SECONDS + 1)
    line = str(caught.value)
    assert "\n" not in line
    assert key not in line
    assert "does not answer for 'stub'" in line
    return line, judge.spent


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (raw(HEAD + b"\r\n", b'{"a": "' + b"x" * 65536, forever=True), "more than"),
        (
            raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n", forever=True),
            "more than|no complete answer",
        ),
        (raw(HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * 65536, forever=True), "more"),
        (raw(HEAD + b"\r\n", b" ", pause=0.05, forever=True), "within 1.5 s"),
        (raw(HEAD, b"X-Drip: 1\r\n", pause=0.05, forever=True), "within 1.5 s"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.05, forever=True), "within 1.5 s"),
        (raw(b"HTTP", pause=3), "within 1.5 s"),
        (raw(HEAD + b"X: " + b"x" * 70000), "connection broke"),
        (raw(HEAD, b"X-Many: 1\r\n", forever=True), "connection broke"),
        (raw(HEAD + b"Content-Length: 1000\r\n\r\n" + completion()[:100]), "cut short"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "connection broke"),
        (raw(HEAD + b"Content-Length: -5\r\n\r\n"), "not a JSON object"),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "connection broke"),
        (raw(b"\x15\x03\x01\0\x02\x02\x0a"), "connection broke"),
        (hang_up, "connection broke"),
        (answer(b"<html>Sign in</html>"), "is this an OpenAI server's URL"),
        (answer(b""), "is this an OpenAI server's URL"),
        (answer(b"[" * 100_000), "is this an OpenAI server's URL"),
        (answer(b'{"a":' * 100_000), "is this an OpenAI server's URL"),
        (answer(b"9" * 5000), "is this an OpenAI server's URL"),
        (answer(b"\xff\xfe\x00"), "is this an OpenAI server's URL"),
        (answer(b" " * (MOST_BYTES + 1)), "more than"),
    ],
    ids=lambda value: None if callable(value) else "",
)
def test_malformed_answers(server, step, said):
    server.script = [step] * 2
    line, spent = refused(server.url)
    assert any(part in line for part in said.split("|")), line
    assert "verdicts so far are kept" in line
    assert len(server.requests) == 2
    assert spent > 2 * 300 * 5 / 1e6  # each may have been charged


def test_endless_errors_end(server):
    head = HEAD.replace(b"200 OK", b"500 Oops")
    server.script = [raw(head + b"\r\n", b"x" * 65536, forever=True)] * 2
    assert "more than" in refused(server.url)[0]


def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line, spent = refused(f"http://127.0.0.1:{port}/v1")
    assert "Connection refused" in line
    assert spent == 0


def test_a_name_that_does_not_resolve(monkeypatch):
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    line, spent = refused("https://judge.invalid/v1")
    assert "no connection to judge.invalid: Name or service not known" in line
    assert spent == 0
    monkeypatch.undo()
    assert (
        "no connection to" in refused(f"http://{'a' * 70}.invalid/v1")[0]
    )  # not even a valid name


def test_a_certificate_that_is_not_trusted(server, monkeypatch):
    def wrap(*_, **__):
        raise ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    line, spent = refused(server.url.replace("http:", "https:"))
    assert "self-signed certificate; SSL_CERT_FILE can name" in line
    assert spent == 0


def test_plain_http_where_tls_is_expected(server):
    line, spent = refused(server.url.replace("http:", "https:"))
    assert "no connection to 127.0.0.1" in line
    assert spent == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server, status):
    other = Server()
    try:
        place = f"{other.url}/chat/completions"
        server.script = [answer(b"", status, Location=place)]
        line, spent = refused(server.url)
        assert f"redirects to {place}, where the key is not sent" in line
        assert spent == 0
        assert other.paths == []
        assert len(server.requests) == 1
    finally:
        other.stop()


def marks(url):
    judge = Judge("stub", Price(1, 5), 1, url=url, key="sk-secret-key", retries=0, timeout=5)
    return judge.mark("What?", "B", "B").correct


def test_a_proxy_of_the_environment_is_used(server, monkeypatch):
    proxy = f"http://me:pass%20word@{server.place}"
    monkeypatch.setenv("http_proxy", proxy)
    assert marks("http://judge.invalid:81/v1")
    assert server.paths == ["http://judge.invalid:81/v1/chat/completions"]
    assert server.headers[0]["host"] == "judge.invalid:81"
    assert server.headers[0]["proxy-authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert marks(server.url)
    assert server.paths[1] == "/v1/chat/completions"
    assert "proxy-authorization" not in server.headers[1]


def test_a_proxy_sees_no_key_of_an_https_server(server, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://me:hunter2@{server.place}")
    line, spent = refused("https://judge.invalid/v1")
    assert "407" in line
    assert "hunter2" not in line
    assert spent == 0
    assert server.paths == ["judge.invalid:443"] * 2
    assert "sk-secret-key" not in json.dumps(server.headers)


def test_a_proxy_that_is_not_http_is_refused(server, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://me:hunter2@127.0.0.1:1080")
    with pytest.raises(CraftError, match=r"'socks5'.*NO_PROXY") as caught:
        marks("http://judge.invalid/v1")
    assert "hunter2" not in str(caught.value)
