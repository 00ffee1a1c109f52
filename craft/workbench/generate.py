"""Answer one question about one image, plainly or with LASER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from craft.data import prompts
from craft.data.domains.manifest import MANIFEST, DomainManifest
from craft.data.readers import PixelRange
from craft.data.readers.decoding import decode_rgb
from craft.data.readers.image import ImageFile
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
from craft.workbench.requirements import language_model as chosen_language_model

#: Token limits of a letter or short answer, and of an answer to the user's own instruction.
SHORT, LONG = 5, 64


@dataclass(frozen=True)
class Answer:
    """An answer to a question about an image.

    Args:
        text: the answer: one of the options with its letter, such as "B. moon", if there are any.
        written: what the model wrote, verbatim.
        outside: whether ``written`` is none of the options; ``text`` is then the likeliest one.
        trace: how LASER found the answer; None for plain decoding.
    """

    text: str
    written: str
    outside: bool = False
    trace: Trace | None = None


def read_image(
    path: Path, pack: Path | None = None, pixel_range: PixelRange | None = None
) -> Image.Image:
    """Read an image file, as RGB, the way the encoder of a pack should see it.

    Args:
        pixel_range: values that become black and white in images of more than eight bits per
            channel; by default those that the pack's own data was read with.

    Raises:
        CraftError: the image cannot be read; the message names the file.
        OSError: no such file.
    """
    if pixel_range is None and pack is not None and (pack / MANIFEST).is_file():
        pixel_range = DomainManifest.load(pack / MANIFEST).reading.pixel_range
    encoded = ImageFile(path).read()
    try:
        return decode_rgb(encoded, pixel_range)
    except CraftError as error:
        raise CraftError(f"{path}: {error}") from error


def open_reader(
    family: ModelFamily,
    pack: Path | None = None,
    *,
    name: str | None = None,
    keep_ratio: float = 1.0,
    selector: Selector = "full",
) -> DiscreteReader:
    """Join an encoder and a language model that reads its codes.

    Args:
        pack: directory of an adapted encoder; by default the pretrained one is used.
        name: of the language model; by default the family's main one.
        keep_ratio, selector: prune the visual tokens by the pack's prior, or by the family's for
            the pretrained encoder.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        CraftError: no such language model, a pack whose language model reads no codes, or no prior
            to prune by.
    """
    name = chosen_language_model(family, name)
    encoder = family.plug(pack)
    encoder.require_codes("craft generate")
    if keep_ratio < 1 and selector != "random" and encoder.prior is None:
        what = family.directory if pack is None else pack
        raise CraftError(
            f"{what} has no token prior to prune by; {prior_made_by(family, pack)}, or use "
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
    max_new_tokens: int | None = None,
    instruction: str | None = None,
) -> Answer:
    """Answer a question about an image by greedy decoding.

    With options, the answer is always one of them. If the model writes something else, the answer
    is the option whose letter it finds likeliest, on the whole image and without LASER.

    Args:
        image: of any size.
        options: offered by letter; the model is asked for one letter.
        settings: of LASER; None for plain decoding.
        max_new_tokens, instruction: see :func:`how_to_answer`.

    Raises:
        CraftError: an empty question, words that the model does not know, a single option, settings
            that do not fit the model, or pruning without a prior.
    """
    if not question.strip():
        raise CraftError("the question is empty")
    if len(options) == 1:
        raise CraftError(f"{options[0]!r} is the only option; give two or more, or none")
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
    """Index of the only option whose letter or text was written, ignoring punctuation."""
    letters = [prompts.letter(i) for i in range(len(options))]
    for names in (letters, options):
        named = [i for i, name in enumerate(names) if lenient_match(written, name)]
        if len(named) == 1:
            return named[0]
    return None


def how_to_answer(
    options: Sequence[str], instruction: str | None = None, max_new_tokens: int | None = None
) -> tuple[str, int]:
    """The instruction that follows a question on its own line, and the answer's token limit.

    Args:
        options: if given, the instruction asks for one letter.
        instruction: of an open question; "" for none. By default it asks for a short answer, as in
            training, unless ``max_new_tokens`` leaves room for more: then there is none.
        max_new_tokens: by default enough for the answer that is asked for.

    Raises:
        CraftError: an instruction together with options.
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
