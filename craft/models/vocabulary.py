"""Words that a model does not know and would all read as its unknown token.

Byte-level tokenizers, and SentencePiece models with byte fallback, know every word. Others, such as
those of small models trained from scratch, have a list of words; SigLIP's knows the characters of
its training texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from craft.data.wording import Wording
from craft.errors import CraftError

_WORD, _SYMBOL_OR_WORD = re.compile(r"\w+"), re.compile(r"\w+|[^\w\s]+")
_SHOWN, _BATCH = 8, 4096


class UnknownWordsError(CraftError):
    """A model that must read or write the data does not know some of its words."""


def unknown_words(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, exact: bool = False
) -> Counter[str]:
    """Words that the tokenizer maps to its unknown token, with the number of texts they occur in.

    Args:
        exact: whether to include words with any unknown part, and symbols such as "+": for answers,
            which must be written, and options, which must be told apart. Otherwise a word counts if
            all of it is unknown.
    """
    found: Counter[str] = Counter()
    if tokenizer.unk_token_id is None:
        return found
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        ids = tokenizer(batch, add_special_tokens=False)["input_ids"]
        for text, row in zip(batch, ids, strict=True):
            if tokenizer.unk_token_id in row:
                found.update(dict.fromkeys(_unknown_in(tokenizer, text, exact), 1))
    return found


def _unknown_in(tokenizer: PreTrainedTokenizerBase, text: str, exact: bool) -> Iterator[str]:
    unknown = [False] * len(text)
    if tokenizer.is_fast:
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for token, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True):
            if token == tokenizer.unk_token_id:
                unknown[start:end] = [True] * (end - start)
    else:  # slow tokenizers do not report offsets
        for match in _SYMBOL_OR_WORD.finditer(text):
            ids = tokenizer(match.group(), add_special_tokens=False)["input_ids"]
            pieces = tokenizer.convert_ids_to_tokens(ids)
            told = [
                i == tokenizer.unk_token_id for i, p in zip(ids, pieces, strict=True) if p != "▁"
            ]
            if any(told) if exact else told and all(told):
                unknown[match.start() : match.end()] = [True] * len(match.group())
    for match in (_SYMBOL_OR_WORD if exact else _WORD).finditer(text):
        marks = unknown[match.start() : match.end()]
        if any(marks) if exact else all(marks):
            yield match.group()


def words_beyond(tokenizer: PreTrainedTokenizerBase, wording: Wording) -> Counter[str]:
    """Words of a data set that a language model does not know, with their numbers of texts."""
    said = unknown_words(tokenizer, wording.said, exact=True)
    return said | unknown_words(tokenizer, wording.asked)


def require_words(tokenizer: PreTrainedTokenizerBase, wording: Wording, name: str) -> None:
    """Refuse data that a language model cannot read, or whose answers it cannot write.

    Raises:
        UnknownWordsError: it does not know some words; names them.
        CraftError: two answers have the same tokens.
    """
    missing = words_beyond(tokenizer, wording)
    if missing:
        raise UnknownWordsError(
            f"the language model {name!r} does not know {_counted(missing)}; `craft words` lists "
            "them: use words it knows, or a language model that reads any text (--models)"
        )
    require_distinct(tokenizer, wording.answers, name)


def require_texts(tokenizer: PreTrainedTokenizerBase, wording: Wording) -> None:
    """Refuse contrastive texts that SigLIP cannot read.

    Raises:
        UnknownWordsError: it does not know some words; names them.
    """
    missing = unknown_words(tokenizer, wording.contrasted)
    if missing:
        raise UnknownWordsError(
            f"SigLIP does not know {_counted(missing)} of the contrastive texts; `craft words` "
            "lists them: use words it knows, or train without texts (--set lambda_con=0)"
        )


def require_distinct(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], name: str) -> None:
    """Raise CraftError if a language model could not tell two answers apart."""
    if not answers:
        return
    said: dict[tuple[int, ...], str] = {}
    ids = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    for answer, row in zip(answers, ids, strict=True):
        other = said.setdefault(tuple(row), answer)
        if other != answer:
            raise CraftError(
                f"the language model {name!r} cannot tell the answers {other!r} and {answer!r} "
                "apart: they are the same tokens"
            )


def _counted(words: Counter[str]) -> str:
    # The most frequent first; ties in alphabetical order, whatever the order of the texts.
    frequent = sorted(words, key=lambda word: (-words[word], word))[:_SHOWN]
    shown = ", ".join(map(repr, frequent))
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{len(words)} word{'s' if len(words) > 1 else ''}: {shown}{more}"
