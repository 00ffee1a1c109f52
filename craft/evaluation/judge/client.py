"""Asks a judge behind an OpenAI-compatible server, within a budget, and loses nothing paid for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from craft.errors import CraftError, MissingPackageError
from craft.evaluation.judge import protocol
from craft.evaluation.judge.protocol import UnreadableVerdict, Verdict
from craft.runtime.regular_files import regular_bytes
from craft.runtime.whole_file import write_bytes

#: Tokens a verdict may take; its five fields need some sixty.
REPLY_TOKENS = 300
#: How often a reply that is no verdict is asked for again, at the same temperature.
ASK_AGAIN = 2
#: A token is rarely shorter than this many bytes of UTF-8, so that estimates err upwards.
BYTES_PER_TOKEN = 2


class JudgeUnavailable(CraftError):
    """The judge's server failed for good, or cannot be asked at all."""


class BudgetReached(CraftError):
    """The next question might cost more than is left."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    read: float
    written: float

    def of(self, read: int, written: int) -> float:
        return (self.read * read + self.written * written) / 1e6


class Judge:
    """A language model that marks answers.

    Args:
        model: its name at the server.
        price: what it costs; zero for a local one.
        budget: US dollars that must not be exceeded, estimated from above before every request.
        url: of the server, up to and with "/v1" [default: the library's, or OPENAI_BASE_URL].
        key: [default: OPENAI_API_KEY].
        retries: of a request that the server refused or did not answer, with growing pauses or
            those the server asks for.
        timeout: seconds a request may take.
        structured: ask the server to hold the model to the schema; not all servers can.

    Raises:
        ImportError: the openai package is not installed.
        JudgeUnavailable: there is no key.
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
        try:
            from openai import OpenAI, OpenAIError
        except ImportError:
            raise MissingPackageError(
                "a judge needs the openai package: pip install 'openai>=2'"
            ) from None
        self.model = model
        self.price = price
        self.budget = budget
        self.spent = 0.0
        self._structured = structured
        try:
            self._client: Any = OpenAI(
                base_url=url, api_key=key, max_retries=retries, timeout=timeout
            )
        except OpenAIError as error:
            raise JudgeUnavailable(
                "no key for the judge's server: set OPENAI_API_KEY (to any text for a server of "
                f"your own that asks for none): {_line(error)}"
            ) from error

    def mark(self, question: str, answer: str, reply: str) -> Verdict:
        """The verdict on one reply.

        Raises:
            BudgetReached: before a request that might exceed the budget.
            UnreadableVerdict: the judge's replies hold none, also when asked again.
            JudgeUnavailable: the server failed for good.
        """
        chat = protocol.messages(question, answer, reply)
        problem: UnreadableVerdict | None = None
        for _ in range(1 + ASK_AGAIN):
            try:
                return protocol.parse(self._ask(chat))
            except UnreadableVerdict as error:
                problem = error
        assert problem is not None
        raise problem

    def _ask(self, chat: list[dict[str, str]]) -> str:
        at_most = _tokens("".join(message["content"] for message in chat))
        worst = self.price.of(at_most, REPLY_TOKENS)
        if self.spent + worst > self.budget:
            raise BudgetReached(
                f"{self.spent:.4f} of {self.budget} US dollars are spent and the next question may "
                f"cost {worst:.4f}; verdicts so far are kept: raise the budget to go on"
            )
        from openai import APIError

        options: dict[str, Any] = {}
        if self._structured:
            form = {"name": "verdict", "schema": protocol.schema()}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        try:
            answered = self._client.chat.completions.create(
                model=self.model,
                messages=chat,
                temperature=protocol.TEMPERATURE,
                max_tokens=REPLY_TOKENS,
                **options,
            )
        except APIError as error:
            raise JudgeUnavailable(
                f"{self._client.base_url} does not answer for {self.model!r}: {_line(error)}; "
                "verdicts so far are kept: the same command goes on from them"
            ) from error
        except json.JSONDecodeError:
            self.spent += worst  # nobody knows what was paid
            raise UnreadableVerdict(
                f"{self._client.base_url} did not answer in JSON: is that an OpenAI server's URL?"
            ) from None
        said = (answered.choices[0].message.content or "") if answered.choices else ""
        usage = answered.usage
        read = usage.prompt_tokens if usage else at_most
        written = usage.completion_tokens if usage else _tokens(said)
        self.spent += self.price.of(read, written)
        return said


def mark_all(
    rows: Iterable[Mapping[str, Any]],  # with id, prompt, answer and given, as predictions.jsonl
    judge: Judge,
    out: Path,
    on_verdict: Callable[[int], None] = lambda done: None,
) -> dict[str, Verdict]:
    """Marks every row that `out` does not hold yet, a JSON line each, written as it comes.

    Rows whose verdict is unreadable are recorded with the problem and count as not marked.

    Returns:
        Verdicts by id, those of earlier runs included.

    Raises:
        BudgetReached, JudgeUnavailable: what was marked before stands in `out`.
        CraftError: `out` holds verdicts of another judge, or something else.
    """
    done = _verdicts_in(out, judge.model)
    with out.open("a", encoding="utf-8") as file:
        for row in rows:
            if row["id"] in done:
                continue
            record: dict[str, Any] = {"id": row["id"], "judge": judge.model}
            try:
                verdict = judge.mark(row["prompt"], row["answer"], row["given"])
            except UnreadableVerdict as error:
                record["problem"] = str(error)
            else:
                done[row["id"]] = verdict
                record["verdict"] = verdict.model_dump()
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            on_verdict(len(done))
    return done


def _verdicts_in(path: Path, model: str) -> dict[str, Verdict]:
    done: dict[str, Verdict] = {}
    if not path.exists():
        return done
    lines = regular_bytes(path).split(b"\n")
    last = lines.pop()  # empty, unless the last run was killed while it wrote
    for number, line in enumerate(lines, 1):
        record = _record(line, path, number)
        if record["judge"] != model:
            raise CraftError(
                f"{path} holds verdicts of {record['judge']!r}, not of {model!r}; give another file"
            )
        if "verdict" in record:
            done[record["id"]] = _stored(record, path, number)
    if last:
        if not last.startswith(b'{"id":'):
            raise CraftError(f"{path}:{len(lines) + 1}: not a verdict; give another file as --out")
        write_bytes(path, b"".join(line + b"\n" for line in lines))
    return done


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CraftError(
            f"{path}:{number}: not a verdict ({_line(error)}); mend the line or give another file"
        ) from error
    fits = isinstance(record, dict) and all(
        isinstance(record.get(key), str) for key in ("id", "judge")
    )
    if not fits or ("verdict" in record) == ("problem" in record):
        raise CraftError(
            f"{path}:{number}: not a verdict: expected id, judge and a verdict or problem; mend "
            "the line or give another file"
        )
    return record


def _stored(record: dict[str, Any], path: Path, number: int) -> Verdict:
    try:
        return Verdict.model_validate(record["verdict"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "verdict"
        raise CraftError(
            f"{path}:{number}: not a verdict: {where}: {first['msg']}; mend the line or remove it"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
