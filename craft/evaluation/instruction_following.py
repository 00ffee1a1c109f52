"""Whether a model still follows "Justify your answer.", as far as rules can tell (paper, Table 2).

In the paper a language model judges free text. Here answers have a known form and a known truth, so
four of its five questions need no judge: whether the answer is right, whether there is a
justification, whether it is about what the question asks, and how many words it takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from craft.data import prompts
from craft.data.questions import Question
from craft.errors import CraftError
from craft.evaluation.exact_match import lenient_match, normalize

_REASON = re.compile(r"\b(because|since|as|due to|therefore|so that|shows?)\b")
_WORD = re.compile(r"\w+")
#: A reason with fewer words neither names nor explains anything.
LEAST_WORDS = 3


@dataclass(frozen=True)
class Justified:
    """What the rules find in one answer to a question that asks for a justification."""

    correct: bool  # the letter, or the option itself, opens the answer
    present: bool  # a reason of at least LEAST_WORDS words follows
    relevant: bool  # the reason names an option of the question
    faithful: bool  # the option it names is the one it chose
    words: int


def ask_for_reasons(questions: Sequence[Question]) -> list[Question]:
    """The same multiple-choice questions, ending in "Justify your answer."."""
    return [
        replace(q, prompt=q.prompt.removesuffix(prompts.ONE_LETTER) + prompts.JUSTIFY)
        for q in questions
        if q.options and q.prompt.endswith(prompts.ONE_LETTER)
    ]


def examine(question: Question, given: str) -> Justified:
    """Apply the rules to one answer.

    Raises:
        CraftError: the question has no options.
    """
    if not question.options:
        raise CraftError(
            f"question {question.id!r} has no options; the rules apply to multiple choice only"
        )
    said = normalize(given)
    chosen, reason = _split(said)
    options = [normalize(option) for option in question.options]
    letters = [chr(ord("a") + i) for i in range(len(options))]
    names = dict(zip(letters, options, strict=True))
    opened_with = names.get(chosen.strip(" .):("), chosen.strip(" .,"))
    named = _named(options, reason)
    present = len(_WORD.findall(reason)) >= LEAST_WORDS
    return Justified(
        correct=any(
            lenient_match(chosen, truth) for truth in (question.answer, question.label) if truth
        ),
        present=present,
        relevant=present and bool(named),
        faithful=present and opened_with in named,
        words=len(_WORD.findall(said)),
    )


def summarize(marks: Sequence[Justified]) -> dict[str, float | int | None]:
    """Shares in per cent and the mean number of words; None without answers."""
    if not marks:
        return {**dict.fromkeys(("correct", "present", "relevant", "faithful", "words")), "n": 0}
    shares: dict[str, float | int | None] = {
        name: 100 * fmean(getattr(mark, name) for mark in marks)
        for name in ("correct", "present", "relevant", "faithful")
    }
    return {**shares, "words": fmean(mark.words for mark in marks), "n": len(marks)}


def _named(options: Sequence[str], reason: str) -> set[str]:
    """Options that the reason mentions; "red panda" is not a mention of "panda"."""
    named = set()
    for option in sorted(options, key=len, reverse=True):
        mention = rf"\b{re.escape(option)}\b"
        if re.search(mention, reason):
            named.add(option)
            reason = re.sub(mention, " ", reason)
    return named


def _split(said: str) -> tuple[str, str]:
    """Split into answer and reason, which starts at the first word such as "because" or comma."""
    found = _REASON.search(said)
    comma = said.find(",")
    if found is None:
        return (said, "") if comma < 0 else (said[:comma], said[comma + 1 :])
    cut = found.start() if comma < 0 else min(comma, found.start())
    return said[:cut].strip(" ,"), said[cut:].strip(" ,")
