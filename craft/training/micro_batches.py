"""A process's parts of a step, which together equal the step of a single process."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.text_batch import IGNORE, TextBatch
from craft.training.batches import DomainBatches


class MicroBatch(NamedTuple):
    """What a process handles at once: a part of a step's images with their texts."""

    pixels: Tensor  # [b, 3, S, S] in [-1, 1]
    text: TextBatch
    texts: Tensor  # [B, D]: contrastive texts of the whole step, or of this part
    keys: Tensor  # [B, n]
    place: slice  # which of those belong to these images

    @property
    def answer_tokens(self) -> int:
        """How many of the text's tokens count in the answer loss."""
        return int((cast(Tensor, self.text.labels) != IGNORE).sum())


def micro_batches(
    batches: DomainBatches,
    language_model: AlignedLanguageModel,
    texts: Tensor,  # [n, D]: embeddings of the domain's contrastive texts
    accelerator: Accelerator,
) -> list[MicroBatch]:
    """This process's parts of the next step, ``hardware.accumulate`` of them."""
    config, device = batches.config, accelerator.device
    lessons = batches.lessons()
    share = len(lessons) // accelerator.num_processes
    first = share * accelerator.process_index
    images = batches.images(lessons, slice(first, first + share), device)
    said = texts[[lesson.text for lesson in lessons]]
    keys = torch.tensor([lesson.keys for lesson in lessons], device=said.device)
    size = share // config.hardware.accumulate
    parts = []
    for start in range(0, share, size):
        place = slice(first + start, first + start + size)
        text = batches.text(lessons[place], language_model)
        pixels = images[start : start + size] * 2 - 1
        if config.negatives == "local":
            parts.append(MicroBatch(pixels, text, said[place], keys[place], slice(None)))
        else:
            parts.append(MicroBatch(pixels, text, said, keys, place))
    return parts
