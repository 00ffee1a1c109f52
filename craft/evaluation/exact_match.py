"""When an answer counts as right: exact match after minimal normalisation (methods F5)."""

from __future__ import annotations

import re
import unicodedata

_OPTION = re.compile(r"\(?([a-z])[.):](?:\s+|$)(.*)")
_PUNCTUATION = re.compile(r"[^\w\s]")


def normalize(text: str) -> str:
    """NFKC, lower case, white space collapsed and stripped; nothing else.

    >>> normalize("  Red\\u00a0 Panda\\n")
    'red panda'
    """
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def strict_match(given: str, answer: str) -> bool:
    """Equal after :func:`normalize`, so "B." is not "B"; this is what accuracy counts."""
    return normalize(given) == normalize(answer)


def lenient_match(given: str, answer: str) -> bool:
    """Also accepts punctuation, and a letter with its option: "B. cat" counts as "B" and as "cat".

    It separates wrong answers from right ones in the wrong form, and is never reported as accuracy.
    """
    wanted = _bare(normalize(answer))
    said = normalize(given)
    readings = [said]
    if option := _OPTION.fullmatch(said):
        readings += [reading for reading in option.groups() if reading]
    return wanted in map(_bare, readings)


def _bare(text: str) -> str:
    return " ".join(_PUNCTUATION.sub(" ", text).split())
