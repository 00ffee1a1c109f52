"""What LASER requires of a model that answers questions about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList

from craft.decoding.crop import Box
from craft.decoding.look import Look

#: Streams must be decoded greedily: they share their tokens, so none may diverge.
GREEDY = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1}


@dataclass(frozen=True)
class Stream:
    """The images that one decoding stream sees.

    Args:
        images: one, or several that belong to the same question.
        dropped: cells [h, w] of each image whose visual tokens are deleted; None for none.
    """

    images: tuple[Image.Image, ...]
    dropped: tuple[Tensor, ...] | None = None


class Reader(Protocol):
    """A vision-language model whose visual tokens can be located."""

    #: Mean colour of the encoder's normalisation, 0 to 255.
    mean_color: tuple[int, int, int]
    #: Rows and columns of visual tokens if all images have the same, so that tokens can be dropped.
    grid: tuple[int, int] | None

    def view(self, image: Image.Image) -> Box:
        """The part of an image that the encoder sees."""
        ...

    def attend(
        self, images: Sequence[Image.Image], prompts: Sequence[tuple[str, ...]]
    ) -> list[tuple[Look, ...]]:  # each [L, heads, h, w]
        """How much the last position of each prompt attends to each patch of its image.

        Prompts of an image that are identical to the model get the same look, bit for bit; computed
        twice, in two rows of a batch, they would differ by rounding.
        """
        ...

    def answer(
        self,
        streams: Sequence[tuple[Stream, ...]],
        texts: Sequence[str],
        processors: LogitsProcessorList,
        **generation: Any,
    ) -> list[str]:
        """Continue each prompt greedily over its streams; every prompt has the same number of them.

        With two streams each, a batch holds all first streams, then all second ones.
        """
        ...
