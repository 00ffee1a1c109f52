"""A judge's server on this machine that misbehaves as scripted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERDICT = {
    "correct": True,
    "explanation_present": True,
    "faithfulness": 8,
    "relevance": 7,
    "verbosity": 1,
}
USAGE = {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}
ROWS = [{"id": f"q{i}", "prompt": "What?", "answer": "B", "given": "B, because."} for i in range(4)]

#: Answers one request through its handler.
Step = Callable[[BaseHTTPRequestHandler], None]


def completion(said: Any = None, usage: Any = USAGE, choices: Any = None) -> bytes:
    """A chat completion, containing a verdict unless other text is given."""
    content = json.dumps(VERDICT) if said is None else said
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": content},
    }
    answer = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [choice] if choices is None else choices,
        "usage": usage,
    }
    return json.dumps(answer).encode()


def answer(body: bytes, status: int = 200, **headers: str) -> Step:
    """A step that sends a complete answer."""

    def play(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return play


def refuse(status: int, said: str = "", **headers: str) -> Step:
    """A step that sends an error that may be retried at once."""
    body = json.dumps({"error": {"message": said}}).encode()
    return answer(body, status, **{"retry_after_ms": "1", **headers})


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


def raw(*parts: bytes, pause: float = 0.0, forever: bool = False) -> Step:
    """A step that sends raw bytes with a pause after each part, repeating the last if asked."""

    def play(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with suppress(OSError):  # the client has given up
            for part in parts:
                request.wfile.write(part)
                time.sleep(pause)
            while forever:
                request.wfile.write(parts[-1])
                time.sleep(pause)

    return play


class Server:
    """Plays `script`, one step per request, and answers correctly once it is used up.

    Attributes:
        requests: bodies as JSON, in order of arrival.
        headers: of each, with names in lower case.
        paths: path of each request.
    """

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                outer._note(self)
                step = outer.script.pop(0) if outer.script else answer(completion())
                step(self)

            def do_GET(self) -> None:
                outer._note(self)
                answer(completion())(self)

            def do_CONNECT(self) -> None:
                outer._note(self)
                self.send_error(407)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def _note(self, request: BaseHTTPRequestHandler) -> None:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/v1"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
