"""Unknown words and indistinguishable answers are found before training."""

import json

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from craft.data.wording import Wording
from craft.models.vocabulary import (
    UnknownWordsError,
    require_distinct,
    require_texts,
    require_words,
    unknown_words,
)

ODD = ["quokka", "naïve café", "猫 がいる", "🙂 C++ <0x41>", "\n\tblank", "Ünïcödé ẞ", "\x07"]


def wording(asked=(), said=(), contrasted=()):
    return Wording(tuple(asked), tuple(said), tuple(said), tuple(contrasted))


def test_words_are_named_with_how_many_texts_have_them(tiny_models):
    texts = ["what gnu is the gnu?", "thing aa", "a gnu, a quokka (in the image)"]
    assert unknown_words(tiny_models.tokenizer, texts) == {"gnu": 2, "quokka": 1}
    assert not unknown_words(tiny_models.tokenizer, ["thing aa", "What is shown in the IMAGE?"])
    assert not unknown_words(tiny_models.tokenizer, [])


def test_signs_matter_in_answers_alone(tiny_models):
    assert not unknown_words(tiny_models.tokenizer, ["what thing (aa)?"])
    assert unknown_words(tiny_models.tokenizer, ["thing aa +"], exact=True) == {"+": 1}


def test_readers_are_asked_for_what_they_read(tiny_models):
    tokenizer = tiny_models.tokenizer
    require_words(tokenizer, wording(["what thing (aa)?"], ["thing aa"]), "qwen2")
    with pytest.raises(UnknownWordsError, match=r"'qwen2' does not know 1 word: 'gnu'"):
        require_words(tokenizer, wording(["what gnu"], ["thing aa"]), "qwen2")
    with pytest.raises(UnknownWordsError, match=r"'qwen2' does not know 1 word: 'gnu'"):
        require_words(tokenizer, wording([], ["thing aa", "gnu"]), "qwen2")
    require_words(tokenizer, wording(contrasted=["gnu"]), "qwen2")
    with pytest.raises(UnknownWordsError, match=r"SigLIP does not know 1 word: 'gnu'.*la"):
        require_texts(tokenizer, wording(contrasted=["gnu"]))
    require_texts(tokenizer, wording(["gnu"], ["gnu"], ["thing"]))


def test_many_words_are_counted(tiny_models):
    many = [f"word{i}" for i in range(30)]
    with pytest.raises(UnknownWordsError, match=r"does not know 30 words: '\w+'.* and 22 more"):
        require_words(tiny_models.tokenizer, wording(said=many), "qwen2")


def test_answers_of_the_same_tokens_are_refused(tiny_models):
    with pytest.raises(ValueError, match="cannot tell the answers 'thing aa' and 'THING AA' apart"):
        require_distinct(tiny_models.tokenizer, ["thing aa", "THING AA"], "qwen2")


def byte_level(unknown):
    """Like GPT-2's and Qwen's: a token per byte. Qwen's unknown token is its end token."""
    alphabet = {sign: i for i, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(alphabet | {end: len(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, unk_token=unknown)


@pytest.mark.parametrize("unknown", [None, "<|endoftext|>"])
def test_byte_level_tokenizers_know_every_word(unknown):
    assert not unknown_words(byte_level(unknown), ODD, exact=True)


@pytest.fixture
def trained(tmp_path):
    """Make a tokenizer from a SentencePiece model stored in a directory."""

    def train(kind, name, config, **options):
        sentences = ["An image of a thing, specifically a flag. what thing is shown"] * 20
        with (tmp_path / name).open("wb") as file:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(sentences), model_writer=file, model_type=kind,
                hard_vocab_limit=False, minloglevel=2, pad_id=-1, unk_id=0, **options,
            )  # fmt: skip
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)

    return train


def test_sentencepiece_with_byte_fallback_knows_every_word(trained):
    config = {"tokenizer_class": "LlamaTokenizer"}
    tokenizer = trained("bpe", "tokenizer.model", config, vocab_size=290, byte_fallback=True)
    assert tokenizer.unk_token_id is not None
    assert not unknown_words(tokenizer, ODD, exact=True)


def test_siglips_tokenizer_lacks_words_of_other_scripts_alone(trained):
    """It has neither byte fallback nor offsets; unknown parts of words are accepted."""
    config = {"tokenizer_class": "SiglipTokenizer"}
    tokenizer = trained("unigram", "spiece.model", config, vocab_size=60, bos_id=-1, eos_id=1)
    assert not tokenizer.is_fast
    assert unknown_words(tokenizer, ["a thing 猫 shown", "fläg 🙂 +"]) == {"猫": 1}
    assert unknown_words(tokenizer, ["fläg"], exact=True) == {"fläg": 1}
