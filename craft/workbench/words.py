"""Check which words of a data set the models that will read it do not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from craft.data.wording import Wording
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.vocabulary import (
    UnknownWordsError,
    require_texts,
    require_words,
    unknown_words,
    words_beyond,
)


def require_readable(
    wording: Wording,
    family: ModelFamily,
    language_models: Sequence[str],
    text_tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Refuse data with words that the models that must read it do not know.

    Args:
        language_models: names of the language models that will read and answer it.
        text_tokenizer: SigLIP's tokenizer, if it will read the contrastive texts.

    Raises:
        UnknownWordsError: a model does not know some words; names both.
        CraftError: no such language model, or answers that it cannot tell apart.
    """
    for name in language_models:
        require_words(family.language_model(name).tokenizer, wording, name)
    if text_tokenizer is not None:
        require_texts(text_tokenizer, wording)


def able_to_read(
    wording: Wording, family: ModelFamily, names: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """The language models that know every word, and the reason against each of the others.

    Raises:
        CraftError: none of them does; gives the reason against the first.
    """
    able, reasons = [], {}
    for name in names:
        try:
            require_words(family.language_model(name).tokenizer, wording, name)
        except UnknownWordsError as error:
            reasons[name] = str(error)
        else:
            able.append(name)
    if not able:
        raise CraftError(next(iter(reasons.values()), f"{family.directory} has no language models"))
    return able, reasons


def missing_words(
    wording: Wording, family: ModelFamily, language_models: Sequence[str]
) -> dict[str, Counter[str]]:
    """Per model, the words it does not know and how many texts contain each; SigLIP comes last."""
    found = {
        name: words_beyond(family.language_model(name).tokenizer, wording)
        for name in language_models
    }
    if family.has_tokenizer:
        found["SigLIP"] = unknown_words(family.tokenizer, wording.contrasted)
    return found
