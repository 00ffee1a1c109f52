"""The paper's judge (sec. 5.3, Table 2): a language model marks justified answers.

This module defines what the judge is asked, what it must return, and how marks are summarised;
client.py does the asking. The wording is ours; the five fields and Overall = Faithfulness +
Relevance - Verbosity / 2 are the paper's (methods F8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from craft.errors import CraftError

#: How many characters and opening braces of a reply are examined. No reply of three hundred tokens
#: has more, and parsing from each of a million braces would take hours.
_MOST_CHARACTERS, _MOST_BRACES = 20_000, 100
#: The paper's sampling temperature and number of answers judged.
TEMPERATURE, MOST_ANSWERS = 0.6, 350

INSTRUCTIONS = """\
You mark answers that a vision-language model gave to questions about images. You do not see the
image. You are given the question, the correct answer and the model's reply.

Return one JSON object and nothing else, with these fields:
- "correct": true if the reply's final answer is the correct one, whatever its form.
- "explanation_present": true if the reply gives any reason beyond the answer itself.
- "faithfulness": 0 to 10. Does the reason support the answer that was given, without
  contradicting it or inventing facts that the question rules out? 0 if there is no reason.
- "relevance": 0 to 10. Does the reason speak about what the question asks? 0 if there is none.
- "verbosity": 0 to 10. 0: no more words than needed; 10: mostly repetition or filler.
"""

CASE = """\
Question:
{question}

Correct answer: {answer}

Reply of the model:
{reply}
"""


class Verdict(BaseModel):
    """The judge's marks for one reply."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    correct: bool
    explanation_present: bool
    faithfulness: float = Field(ge=0, le=10)
    relevance: float = Field(ge=0, le=10)
    verbosity: float = Field(ge=0, le=10)


class UnreadableVerdict(CraftError):
    """The judge's reply holds no verdict."""


def messages(question: str, answer: str, reply: str) -> list[dict[str, str]]:
    """The chat to send for one answer."""
    case = CASE.format(question=question, answer=answer, reply=reply or "(empty)")
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": case}]


def schema() -> dict[str, Any]:
    """JSON schema of a verdict, for servers that can constrain a model to one."""
    return Verdict.model_json_schema()


def parse(reply: str) -> Verdict:
    """Extract the verdict from a judge's reply, also from a code fence or between sentences.

    Raises:
        UnreadableVerdict: there is none, or a field is missing or out of range.
    """
    problem = "no JSON object"
    reply = reply[:_MOST_CHARACTERS]
    for found in islice(re.finditer(r"\{", reply), _MOST_BRACES):
        try:
            value, _ = json.JSONDecoder().raw_decode(reply, found.start())
            return Verdict.model_validate(value)
        except RecursionError:
            problem = "nested too deeply"
            break
        except json.JSONDecodeError:
            continue
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'object'}: {first['msg']}"
        except ValueError as error:  # a number with more digits than Python parses
            problem = str(error)
    raise UnreadableVerdict(f"the judge's reply is not a verdict ({problem}): {reply[:200]!r}")


def summarize(verdicts: Sequence[Verdict]) -> dict[str, float | int | None]:
    """Average over replies; a missing explanation counts as 0 in faithfulness and relevance.

    Returns:
        faithfulness, relevance, verbosity (0 to 10), overall, correct and explanation_present in
        per cent, and n.
    """
    names = ("faithfulness", "relevance", "verbosity", "overall", "correct", "explanation_present")
    if not verdicts:
        return {**dict.fromkeys(names), "n": 0}
    explained = [v.explanation_present for v in verdicts]
    faithfulness = fmean(v.faithfulness * e for v, e in zip(verdicts, explained, strict=True))
    relevance = fmean(v.relevance * e for v, e in zip(verdicts, explained, strict=True))
    verbosity = fmean(v.verbosity for v in verdicts)
    return {
        "faithfulness": faithfulness,
        "relevance": relevance,
        "verbosity": verbosity,
        "overall": faithfulness + relevance - verbosity / 2,
        "correct": 100 * fmean(v.correct for v in verdicts),
        "explanation_present": 100 * fmean(explained),
        "n": len(verdicts),
    }
