"""Client for a judge model on an OpenAI-compatible server, with a budget."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from craft.errors import CraftError
from craft.evaluation.judge import protocol
from craft.evaluation.judge.post import NotSent, Reply, ReplyLost, post, split_url
from craft.evaluation.judge.protocol import UnreadableVerdict, Verdict
from craft.runtime.plain_text import on_one_line

SERVER = "https://api.openai.com/v1"
#: Most tokens a verdict may take; its five fields need about sixty.
REPLY_TOKENS = 300
#: How many more times a verdict is requested, at the same temperature, if the reply has none.
ASK_AGAIN = 2
#: Most bytes of a reply; a verdict with everything that servers add has a few thousand.
MOST_BYTES = 2**20
#: Most tokens a server may report for one request; more cannot be true.
MOST_TOKENS = 10**9
#: Seconds before the first retry, doubled with each further one, and their upper bound.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
#: Longest wait, in seconds, that a server may request; beyond it the pauses above are used.
LONGEST_ASKED_PAUSE = 60.0
#: Statuses of temporary errors, besides those from 500 up.
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
#: A gateway lost the answer of the server behind it, which may have been charged.
_ANSWER_LOST = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)


class JudgeUnavailable(CraftError):
    """The judge's server cannot be reached, or keeps failing."""


class BudgetReached(CraftError):
    """The next question might cost more than the remaining budget."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens.

    Raises:
        CraftError: a price is negative, infinite or NaN.
    """

    read: float
    written: float

    def __post_init__(self) -> None:
        _require_dollars("the price of tokens read", self.read)
        _require_dollars("the price of tokens written", self.written)

    def of(self, read: int, written: int) -> float:
        return (self.read * read + self.written * written) / 1e6


class Judge:
    """A language model that marks answers.

    Args:
        model: its name on the server.
        price: what it costs; zero for a local model.
        budget: US dollars that must not be exceeded. Before each request an upper bound of its cost
            is computed; a request whose actual cost is unknown counts as that much.
        url: of the server, up to and including "/v1" [default: OPENAI_BASE_URL, else OpenAI's].
        key: API key [default: OPENAI_API_KEY].
        retries: how often a request that the server refused or did not answer is repeated, with
            growing pauses or those the server asks for.
        timeout: seconds a request may take.
        structured: ask the server to constrain the model to the schema; not all servers can.

    Attributes:
        spent: US dollars; never less than what the server charged.

    Raises:
        JudgeUnavailable: there is no key, or it contains characters that keys never have.
        CraftError: the budget is not an amount in dollars, or the URL is not a server's.
    """

    def __init__(
        self,
        model: str,
        price: Price,
        budget: float,
        *,
        url: str | None = None,
        key: str | None = None,
        retries: int = 5,
        timeout: float = 60,
        structured: bool = True,
    ):
        _require_dollars("the budget", budget)
        self.model = model
        self.price = price
        self.budget = budget
        self.spent = 0.0
        self._url = (url or os.environ.get("OPENAI_BASE_URL") or SERVER).rstrip("/")
        self._address = split_url(f"{self._url}/chat/completions")
        self._key = _checked_key(key or os.environ.get("OPENAI_API_KEY") or "")
        self._retries = retries
        self._timeout = timeout
        self._structured = structured
        self._overrun = 1.0  # factor by which a server that ignores max_tokens exceeded an estimate

    def mark(self, question: str, answer: str, reply: str) -> Verdict:
        """The verdict on one reply.

        Raises:
            BudgetReached: the next request might exceed the budget.
            UnreadableVerdict: none of the judge's replies holds a verdict.
            JudgeUnavailable: the server cannot be reached, or keeps failing.
        """
        request = self._request(protocol.messages(question, answer, reply))
        problem: UnreadableVerdict | None = None
        for _ in range(1 + ASK_AGAIN):
            try:
                return protocol.parse(self._ask(request))
            except UnreadableVerdict as error:
                problem = error
        assert problem is not None
        raise problem

    def _request(self, chat: list[dict[str, str]]) -> bytes:
        content: dict[str, Any] = {
            "model": self.model,
            "messages": chat,
            "temperature": protocol.TEMPERATURE,
            "max_tokens": REPLY_TOKENS,
        }
        if self._structured:
            form = {"name": "verdict", "schema": protocol.schema()}
            content["response_format"] = {"type": "json_schema", "json_schema": form}
        return json.dumps(content).encode()

    def _ask(self, request: bytes) -> str:
        """The model's reply. Its cost is added to ``spent`` even if an error is raised."""
        # No tokenizer produces more tokens than a text has bytes.
        estimate = self.price.of(len(request), REPLY_TOKENS)
        problem = ""
        for attempt in range(1 + self._retries):
            worst = self._overrun * estimate
            before = self.spent
            if before + worst > self.budget:
                raise BudgetReached(
                    f"{before:.4f} of {self.budget} US dollars spent, and the next question may "
                    f"cost {worst:.4f}; verdicts so far are kept: raise the budget to continue"
                )
            self.spent = before + worst  # until the cost is known; stays if we are interrupted
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            try:
                reply = self._post(request)
            except NotSent as error:
                self.spent = before
                problem = str(error)
            except ReplyLost as error:
                problem = str(error)
            else:
                if reply.status == HTTPStatus.OK:
                    completion = _json_object(reply.body)
                    if completion is not None:
                        said = _said(completion)
                        cost = self._cost(completion.get("usage"), said)
                        if cost is not None:
                            self.spent = before + cost
                            self._overrun = max(self._overrun, cost / estimate if estimate else 1)
                        return said
                    problem = "the answer is not a JSON object: is this an OpenAI server's URL?"
                else:
                    if reply.status not in _ANSWER_LOST:
                        self.spent = before
                    problem = _refusal(reply)
                    if reply.status not in _PASSING and reply.status < 500:
                        break
                    pause = _asked_pause(reply.headers, pause)
            if attempt < self._retries:
                time.sleep(pause)
        raise JudgeUnavailable(
            f"{self._url} does not answer for {self.model!r}: {self._without_key(problem)}; "
            "verdicts so far are kept: rerun the same command to resume"
        )

    def _post(self, request: bytes) -> Reply:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        return post(self._address, request, headers, seconds=self._timeout, most=MOST_BYTES)

    def _cost(self, usage: Any, said: str) -> float | None:
        """US dollars by the server's token counts; None if they are missing or impossible."""
        if not isinstance(usage, dict):
            return None
        read = _count(usage.get("prompt_tokens"), least=1)
        written = _count(usage.get("completion_tokens"), least=1 if said else 0)
        return None if read is None or written is None else self.price.of(read, written)

    def _without_key(self, text: str) -> str:
        """``text`` on one line and without the key, which a server may have echoed."""
        if len(self._key) >= 8:  # shorter ones are placeholders for servers that need none
            text = text.replace(self._key, "[key]")
        return on_one_line(" ".join(text.split()))[:300]


def _require_dollars(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise CraftError(f"{what} must be a number of US dollars of at least 0, got {value}")


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key:
        raise JudgeUnavailable(
            "no key for the judge's server: set OPENAI_API_KEY (to any text if the server "
            "needs none)"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise JudgeUnavailable(
            "OPENAI_API_KEY contains a space or another character that keys never have; set it "
            "again"
        )
    return key


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _said(completion: dict[str, Any]) -> str:
    """The text of the first choice; "" if there is none."""
    found: Any = completion.get("choices")
    for key in (0, "message", "content"):
        try:
            found = found[key]
        except (TypeError, LookupError):
            return ""
    return found if isinstance(found, str) else ""


def _count(value: Any, least: int) -> int | None:
    return value if type(value) is int and least <= value <= MOST_TOKENS else None


def _refusal(reply: Reply) -> str:
    """Explain a status other than 200, with the server's message if it sent one."""
    if 300 <= reply.status < 400:
        place = reply.headers.get("location", "another place")
        return (
            f"it redirects to {place}, where the key is not sent; give that server as --url if "
            "you trust it"
        )
    try:
        name = f"{reply.status} {HTTPStatus(reply.status).phrase}"
    except ValueError:
        name = str(reply.status)
    error = (_json_object(reply.body) or {}).get("error")
    words = error.get("message") if isinstance(error, dict) else error
    if isinstance(words, str) and words:
        return f"{name}: {words}"
    if reply.status == HTTPStatus.NOT_FOUND:
        return f"{name}: are the URL, up to and including /v1, and the model's name right?"
    return name


def _asked_pause(headers: Mapping[str, str], otherwise: float) -> float:
    """Seconds that the server asks us to wait, unless more than a minute."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:  # missing, or a date
            continue
        if 0 <= seconds <= LONGEST_ASKED_PAUSE:
            return seconds
    return otherwise
