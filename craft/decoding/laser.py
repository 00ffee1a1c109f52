"""LASER: answer from a closer look at the evidence for a question.

An independent implementation of arXiv 2602.04304, whose text and code we could not obtain;
docs/laser.md says how certain each part is. Two prefills of the same image, with and without the
question, show where the question directs the model's attention (evidence.py). The answer is read
from a crop around that evidence (crop.py), in contrast with a second stream that cannot see it
(masking.py, contrast.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from transformers import LogitsProcessorList

from craft.decoding.contrast import ContrastStreams
from craft.decoding.crop import Box, place_crop, whole
from craft.decoding.evidence import Evidence, find_evidence, strongest_cells
from craft.decoding.masking import cells_within, hide_cells
from craft.decoding.reader import GREEDY, Reader, Stream
from craft.decoding.trace import Trace
from craft.errors import CraftError
from craft.settings.laser import LaserSettings

#: ViCrop's query that suits every image.
GENERIC = "Write a general description of the image."


class Grounded(NamedTuple):
    """An answer and, if LASER was used, how it was found."""

    text: str
    trace: Trace | None = None


@torch.inference_mode()
def laser(
    reader: Reader,
    images: Sequence[Image.Image],
    questions: Sequence[str],
    *,
    instruction: str = "",
    settings: LaserSettings | None = None,
    **generation: Any,
) -> list[Grounded]:
    """Answer one question about each image, greedily, from the evidence for it.

    Args:
        reader: a :class:`~craft.decoding.discrete_reader.DiscreteReader` or a
            :class:`~craft.decoding.transformers_reader.TransformersReader`.
        images: RGB, at their original size; crops are cut from these pixels.
        questions: one per image, including any options.
        instruction: how to answer; follows every question on its own line, and is kept when the
            question is removed.
        generation: options of transformers' ``generate``, such as ``max_new_tokens``.

    Returns:
        An answer per image, with its trace. If the question changes the model's attention by no
        more than rounding might, the answer is the plain one and ``trace.fallback`` is true.

    Raises:
        CraftError: the lists have different lengths, a question is empty, the settings do not suit
            the model, attention is NaN, or generation is not greedy.
    """
    settings = settings or LaserSettings()
    images = [image.convert("RGB") for image in images]
    prompts = _prompts(images, questions, instruction, generation)
    if settings.mask_mode == "token_drop" and reader.grid is None:
        raise CraftError(
            "mask_mode 'token_drop' needs a model whose visual tokens can be deleted, such as a "
            "DiscreteLVLM; choose 'pixel_mean', 'pixel_zero' or 'blur'"
        )
    if not images:
        return []
    null = {"instruction_only": instruction, "empty": "", "generic": GENERIC}[settings.null_prompt]
    looks = reader.attend(images, [(prompt, null) for prompt in prompts])
    traces = [
        _plan(find_evidence(asked, unasked, settings), image, reader, settings)
        for image, (asked, unasked) in zip(images, looks, strict=True)
    ]
    streams = [
        _streams(image, trace, reader, settings)
        for image, trace in zip(images, traces, strict=True)
    ]
    answers: dict[int, str] = {}
    for count in (1, 2):
        rows = [i for i, s in enumerate(streams) if len(s) == count]
        if rows:
            contrast = ContrastStreams(settings.alpha, settings.plausibility_beta)
            processors = LogitsProcessorList([contrast] if count == 2 else [])
            given = reader.answer(
                [streams[i] for i in rows], [prompts[i] for i in rows], processors, **generation
            )
            answers.update(zip(rows, given, strict=True))
    return [Grounded(answers[i], trace) for i, trace in enumerate(traces)]


@torch.inference_mode()
def plain(
    reader: Reader,
    images: Sequence[Image.Image],
    questions: Sequence[str],
    *,
    instruction: str = "",
    **generation: Any,
) -> list[Grounded]:
    """Answer one question about each image, greedily, from the whole image.

    Arguments and errors are those of :func:`laser`.
    """
    images = [image.convert("RGB") for image in images]
    prompts = _prompts(images, questions, instruction, generation)
    if not images:
        return []
    streams = [(Stream((image,)),) for image in images]
    answers = reader.answer(streams, prompts, LogitsProcessorList(), **generation)
    return [Grounded(text) for text in answers]


def _prompts(
    images: Sequence[Image.Image],
    questions: Sequence[str],
    instruction: str,
    generation: dict[str, Any],
) -> list[str]:
    if len(images) != len(questions):
        raise CraftError(
            f"expected one question per image, got {len(images)} images and {len(questions)} "
            "questions"
        )
    for number, question in enumerate(questions):
        if not question.strip():
            raise CraftError(
                f"question {number} is empty, but LASER needs one to know where to look"
            )
    if "logits_processor" in generation:
        raise CraftError(
            "LASER decodes through its own logits_processor; leave logits_processor out"
        )
    for name, value in GREEDY.items():
        if generation.get(name, value) != value:
            raise CraftError(f"decoding is greedy: {name} must be {value}, got {generation[name]}")
    return [f"{question}\n{instruction}" if instruction else question for question in questions]


def _plan(evidence: Evidence, image: Image.Image, reader: Reader, settings: LaserSettings) -> Trace:
    view = reader.view(image)
    if evidence.degenerate:
        nothing = torch.zeros_like(evidence.map, dtype=torch.bool)
        return Trace(evidence, view, None, nothing, fallback=True)
    box = place_crop(evidence.map, view, settings)
    masked = strongest_cells(evidence.map, settings.k_patch)
    return Trace(evidence, view, box, masked, fallback=False)


def _streams(
    image: Image.Image, trace: Trace, reader: Reader, settings: LaserSettings
) -> tuple[Stream, ...]:
    """The stream that the answer is read from and, if it is used, the one without the evidence."""
    if trace.fallback:
        return (Stream((image,)),)
    windows = [trace.box or whole(image.size)]
    if settings.crop_mode == "append" and trace.box is not None:
        windows.insert(0, whole(image.size))
    seen = _cut(image, windows)
    if settings.alpha == 0:
        return (Stream(seen),)
    if settings.mask_mode == "token_drop":
        assert reader.grid is not None
        dropped = [cells_within(trace.masked, trace.view, w, reader.grid) for w in windows]
        return Stream(seen), Stream(seen, tuple(dropped))
    hidden = hide_cells(image, trace.masked, settings.mask_mode, trace.view, reader.mean_color)
    return Stream(seen), Stream(_cut(hidden, windows))


def _cut(image: Image.Image, windows: Sequence[Box]) -> tuple[Image.Image, ...]:
    return tuple(image if w == whole(image.size) else image.crop(w) for w in windows)
