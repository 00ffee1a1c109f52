"""The pocket models' tokenizer: one token per word and per name of a class or group."""

from __future__ import annotations

from string import Formatter

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from craft.data import prompts
from craft.pocket.world import SUBJECTS

TEMPLATES = (
    prompts.QUESTION,
    prompts.GROUP_QUESTION,
    prompts.ONE_LETTER,
    prompts.SHORT_ANSWER,
    prompts.JUSTIFY,
    prompts.JUSTIFICATION,
    prompts.CAPTION,
    *prompts.LETTERS,
    *SUBJECTS.values(),
)

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"


def build_tokenizer(names: list[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the prompt templates' words and the given class and group names.

    A name of several words ("fire engine") is one token, so that naming an image takes one step.
    """
    split = pre_tokenizers.Whitespace()
    literals = (text for t in TEMPLATES for text, *_ in Formatter().parse(t))
    words = sorted({w for text in literals for w, _ in split.pre_tokenize_str(text.lower())})
    parts = sorted({part for name in names for part in name.split()} - set(words))
    vocabulary = {word: i for i, word in enumerate([PAD, BOS, EOS, UNK, *words, *parts])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = split
    whole = [name for name in sorted(set(names)) if name not in vocabulary]
    tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=True) for name in whole])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
    )
