"""One question about one image to the pocket models, plainly or with LASER."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PIL import Image

from craft.data import prompts
from craft.data.vocabulary import require_answers
from craft.decoding import DiscreteReader, Grounded, LaserSettings, laser, plain
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.encoder_pack import EncoderPack
from craft.pocket.zoo import PocketModels
from craft.prune import Selector


def generate(
    models: PocketModels,
    image: Image.Image,
    question: str,
    options: Sequence[str] = (),
    *,
    name: str = "qwen2",
    pack: EncoderPack | None = None,
    settings: LaserSettings | None = None,
    keep_ratio: float = 1.0,
    selector: Selector = "full",
    max_new_tokens: int = 5,
) -> Grounded:
    """What a pocket model answers, greedily.

    Args:
        image: RGB, of any size.
        options: offered with letters; without any, a short answer is asked for.
        name: of the language model.
        pack: an adapted encoder; the pretrained one if not given.
        settings: answer with LASER; None for plain decoding.
        keep_ratio, selector: prune the visual tokens that the answer is read from, by the pack's
            prior or the general world's.

    Returns:
        The answer, with LASER's trace if it was used.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        ValueError: no such model, an empty question, an option with words the model lacks,
            settings that do not fit the model, or a pack without the prior that pruning needs.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    lvlm = models.lvlm(name)
    if len(options) == 1:
        raise ValueError(f"one option, {options[0]!r}, is no choice; give two or more, or none")
    if options:
        require_answers(lvlm.tokenizer, options, name)
    tower = models.base_tower() if pack is None else pack.tower(models.codebook)
    prior = None
    if keep_ratio < 1 and selector != "random":
        prior = models.general_prior() if pack is None else pack.prior
    reader = DiscreteReader(
        DiscreteLVLM.from_parts(tower, lvlm),
        lvlm.tokenizer,
        keep_ratio=keep_ratio,
        prior=prior,
        selector=selector,
    )
    instruction = prompts.ONE_LETTER if options else prompts.SHORT_ANSWER
    asked = f"{question}\n{prompts.option_lines(options)}" if options else question
    answer = plain if settings is None else partial(laser, settings=settings)
    (given,) = answer(
        reader, [image], [asked], instruction=instruction, max_new_tokens=max_new_tokens
    )
    return given
