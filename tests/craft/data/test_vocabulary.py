"""Answers a language model cannot say, or cannot tell apart, are found before training."""

import pytest

from craft.models.vocabulary import require_answers, unknown_answers


def test_unknown_words_are_found(tiny_models):
    tokenizer = tiny_models.tokenizer
    assert unknown_answers(tokenizer, ["thing aa", "gnu", "thing bb"]) == ["gnu"]
    require_answers(tokenizer, ["thing aa", "thing bb"], "qwen2")
    with pytest.raises(ValueError, match=r"'qwen2' has no words for 1 of 2 answers: 'gnu'"):
        require_answers(tokenizer, ["thing aa", "gnu"], "qwen2")


def test_answers_of_the_same_tokens_are_refused(tiny_models):
    with pytest.raises(ValueError, match="cannot tell the answers 'thing aa' and 'THING AA' apart"):
        require_answers(tiny_models.tokenizer, ["thing aa", "THING AA"], "qwen2")
