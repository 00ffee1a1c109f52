"""Which answers count as right."""

from __future__ import annotations

import pytest

from craft.evaluation.exact_match import lenient_match, normalize, strict_match


@pytest.mark.parametrize(
    ("given", "answer", "strict", "lenient"),
    [
        ("B", "B", True, True),
        ("b", "B", True, True),
        ("  B\n", "B", True, True),
        ("\uff22", "B", True, True),  # full-width B: NFKC
        ("red\u00a0  panda", "Red Panda", True, True),
        ("B.", "B", False, True),
        ("(b)", "B", False, True),
        ("B. red panda", "B", False, True),
        ("B) red panda", "red panda", False, True),
        ("red panda.", "red panda", False, True),
        ("A. red panda", "B", False, False),
        ("a red panda", "A", False, False),  # an article, not an option
        ("bb", "B", False, False),
        ("", "B", False, False),
        ("", "", True, True),
        ("b b", "B", False, False),
        ("it's", "its", False, False),
    ],
)
def test_cases(given: str, answer: str, strict: bool, lenient: bool) -> None:
    assert strict_match(given, answer) is strict
    assert lenient_match(given, answer) is lenient


def test_strict_implies_lenient_whatever_the_punctuation() -> None:
    for text in ("A.", "(c)", "...", "Côte d'Ivoire", "?"):
        assert strict_match(text, text)
        assert lenient_match(text, text)


def test_normalize_is_idempotent() -> None:
    for text in ("  ＲＥＤ\tPanda ", "Ⅳ", "ﬁre engine"):
        assert normalize(normalize(text)) == normalize(text)
