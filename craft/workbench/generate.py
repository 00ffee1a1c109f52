"""One question about one image, answered plainly or with LASER."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from craft.data import prompts
from craft.decoding import DiscreteReader, Grounded, LaserSettings, laser, plain
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.vocabulary import require_answers, unknown_answers
from craft.settings.choices import Selector


def open_reader(
    family: ModelFamily,
    pack: Path | None = None,
    *,
    name: str = "qwen2",
    keep_ratio: float = 1.0,
    selector: Selector = "full",
) -> DiscreteReader:
    """An encoder and a language model that reads its codes.

    Args:
        pack: directory of an adapted encoder; the pretrained one if not given.
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
            f"{what} has no token prior to prune by; count one with `craft prior`, or use "
            "--selector random"
        )
    language_model = family.language_model(name)
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
    max_new_tokens: int = 5,
) -> Grounded:
    """What the model answers, greedily.

    Args:
        image: of any size.
        options: offered with letters; without any, a short answer is asked for.
        settings: answer with LASER; None for plain decoding.

    Returns:
        The answer, with LASER's trace if it was used.

    Raises:
        CraftError: an empty question, words that the model lacks, a single option, settings that do
            not fit the model, or pruning without a prior.
    """
    if not question.strip():
        raise CraftError("the question is empty")
    if unknown_answers(reader.tokenizer, [question]):
        raise CraftError(
            f"the language model has no words for parts of {question!r}; they know "
            f"questions like {prompts.QUESTION.format(subject='object')!r}"
        )
    if len(options) == 1:
        raise CraftError(f"one option, {options[0]!r}, is no choice; give two or more, or none")
    if options:
        family = reader.model.config.text_config.model_type
        require_answers(reader.tokenizer, options, family)
    instruction = prompts.ONE_LETTER if options else prompts.SHORT_ANSWER
    asked = f"{question}\n{prompts.option_lines(options)}" if options else question
    answer = plain if settings is None else partial(laser, settings=settings)
    (given,) = answer(
        reader, [image], [asked], instruction=instruction, max_new_tokens=max_new_tokens
    )
    return given
