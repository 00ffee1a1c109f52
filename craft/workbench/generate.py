"""One question about one image, answered plainly or with LASER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from craft.data import prompts
from craft.data.wording import Wording
from craft.decoding import DiscreteReader, LaserSettings, laser, plain
from craft.decoding.trace import Trace
from craft.errors import CraftError
from craft.evaluation.exact_match import lenient_match
from craft.evaluation.likelihood import letter_tokens
from craft.family.family import ModelFamily
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.vocabulary import require_distinct, require_words
from craft.settings.choices import Selector
from craft.workbench.general_prior import prior_made_by

#: Tokens of a letter or a short answer, and of an answer to an instruction of the user's own.
SHORT, LONG = 5, 64


@dataclass(frozen=True)
class Answer:
    """An answer to a question about an image.

    Args:
        text: the answer: one of the options with its letter, such as "B. moon", if there are any.
        written: what the model wrote, letter by letter.
        outside: what it wrote is none of the options; ``text`` is the one it finds likeliest.
        trace: how LASER found it; None for plain decoding.
    """

    text: str
    written: str
    outside: bool = False
    trace: Trace | None = None


def open_reader(
    family: ModelFamily,
    pack: Path | None = None,
    *,
    name: str | None = None,
    keep_ratio: float = 1.0,
    selector: Selector = "full",
) -> DiscreteReader:
    """An encoder and a language model that reads its codes.

    Args:
        pack: directory of an adapted encoder; the pretrained one if not given.
        name: of the language model; the family's main one if not given.
        keep_ratio, selector: prune the visual tokens that answers are read from, by the pack's
            prior, or the family's for the pretrained encoder.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        CraftError: no such language model, or a pack whose language model reads no codes.
    """
    encoder = family.plug(pack)
    encoder.require_codes("craft generate")
    if keep_ratio < 1 and selector != "random" and encoder.prior is None:
        what = family.directory if pack is None else pack
        raise CraftError(
            f"{what} has no token prior to prune by; {prior_made_by(family, pack)}, or use "
            "--selector random"
        )
    language_model = family.language_model(name or family.main or "qwen2")
    return DiscreteReader(
        DiscreteLVLM.from_parts(encoder.tower, language_model),
        language_model.tokenizer,
        template=language_model.template,
        keep_ratio=keep_ratio,
        prior=encoder.prior,
        selector=selector,
    )


def generate(
    reader: DiscreteReader,
    image: Image.Image,
    question: str,
    options: Sequence[str] = (),
    *,
    settings: LaserSettings | None = None,
    max_new_tokens: int | None = None,
    instruction: str | None = None,
) -> Answer:
    """What the model answers, greedily.

    Of a choice, the answer is always one of the options. A model that writes something else is
    asked which option's letter it finds likeliest, on the whole image and without LASER.

    Args:
        image: of any size.
        options: offered with letters, of which one is asked for.
        settings: answer with LASER; None for plain decoding.
        max_new_tokens, instruction: see :func:`how_to_answer`.

    Raises:
        CraftError: an empty question, words that the model lacks, a single option, settings that do
            not fit the model, or pruning without a prior.
    """
    if not question.strip():
        raise CraftError("the question is empty")
    if len(options) == 1:
        raise CraftError(f"one option, {options[0]!r}, is no choice; give two or more, or none")
    instruction, max_new_tokens = how_to_answer(options, instruction, max_new_tokens)
    name = str(reader.model.config.text_config.model_type)
    lines = [question, *([prompts.option_lines(options)] if options else []), instruction]
    prompt = "\n".join(line for line in lines if line)
    require_words(reader.tokenizer, Wording((prompt,), tuple(options), ()), name)
    require_distinct(reader.tokenizer, options, name)
    asked = f"{question}\n{prompts.option_lines(options)}" if options else question
    answer = plain if settings is None else partial(laser, settings=settings)
    (given,) = answer(
        reader, [image], [asked], instruction=instruction, max_new_tokens=max_new_tokens
    )
    if not options:
        return Answer(given.text, given.text, trace=given.trace)
    chosen = _chosen(given.text, options)
    outside = chosen is None
    if chosen is None:
        letters = letter_tokens(reader.tokenizer, len(options))
        chosen = int(reader.next_token_logits(image, prompt)[letters].argmax())
    text = f"{prompts.letter(chosen)}. {options[chosen]}"
    return Answer(text, given.text, outside, given.trace)


def _chosen(written: str, options: Sequence[str]) -> int | None:
    """The one option whose letter or text was written, forgiving punctuation."""
    letters = [prompts.letter(i) for i in range(len(options))]
    for names in (letters, options):
        named = [i for i, name in enumerate(names) if lenient_match(written, name)]
        if len(named) == 1:
            return named[0]
    return None


def how_to_answer(
    options: Sequence[str], instruction: str | None = None, max_new_tokens: int | None = None
) -> tuple[str, int]:
    """What follows a question on a line of its own, and where its answer is cut off.

    Args:
        options: a choice asks for one letter, whatever else is given.
        instruction: of an open question; "" for none. By default a short answer is asked for, as
            the models learn it, unless ``max_new_tokens`` has room for more: then nothing is.
        max_new_tokens: by default enough for what is asked.

    Raises:
        CraftError: an instruction for a choice.
    """
    if options:
        if instruction is not None:
            raise CraftError(
                "--instruction is for open questions; --option asks for one letter of a choice"
            )
        return prompts.ONE_LETTER, max_new_tokens or SHORT
    if instruction is None:
        short = max_new_tokens is None or max_new_tokens <= SHORT
        return (prompts.SHORT_ANSWER if short else ""), max_new_tokens or SHORT
    return instruction, max_new_tokens or (SHORT if instruction == prompts.SHORT_ANSWER else LONG)
