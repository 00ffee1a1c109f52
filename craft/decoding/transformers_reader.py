"""LASER's interface to any image-text-to-text model in transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel

from craft.decoding.attention_capture import last_row_attention
from craft.decoding.crop import Box, whole
from craft.decoding.look import Look
from craft.decoding.reader import GREEDY, Stream
from craft.errors import CraftError

#: Turns images and a text into the inputs of a forward pass, as a batch of one.
Prepare = Callable[[Sequence[Image.Image], str], Mapping[str, Tensor]]


class TransformersReader:
    """Questions to LLaVA, Qwen2-VL or another model that marks its visual tokens in ``input_ids``.

    Args:
        model: has ``config.image_token_id``.
        prepare: makes the model's inputs from images and a text; images come before the text, so
            that visual tokens have the same positions for every question.
        decode: turns token ids [T] into text.
        grid: computes rows and columns of an image's visual tokens from its inputs [default:
            ``image_grid_thw`` (Qwen-VL), else the square that they form (LLaVA)].
        view: the part of an image that the encoder sees [default: the whole image].
        mean_color: of the encoder's normalisation, 0 to 255 [default: CLIP's].

    Raises:
        CraftError: the model's config does not name its image token.
    """

    grid: tuple[int, int] | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        prepare: Prepare,
        decode: Callable[[Tensor], str],
        *,
        grid: Callable[[Mapping[str, Tensor]], tuple[int, int]] | None = None,
        view: Callable[[tuple[int, int]], Box] = whole,
        mean_color: tuple[int, int, int] = (123, 117, 104),
    ):
        if getattr(model.config, "image_token_id", None) is None:
            raise CraftError(
                f"{type(model).__name__} has no image_token_id in its config, so its visual tokens "
                "cannot be located; set model.config.image_token_id"
            )
        self.model: Any = model
        self.prepare = prepare
        self.decode = decode
        self.grid_of = grid or self._grid_of
        self.view_of = view
        self.mean_color: tuple[int, int, int] = mean_color

    @classmethod
    def from_processor(cls, model: PreTrainedModel, processor: Any) -> TransformersReader:
        """Make a reader from the model's processor and chat template: one turn, images first.

        Raises:
            CraftError: there is no chat template, or the preprocessing pads or crops in an
                unsupported way.
        """
        if not getattr(processor, "chat_template", None):
            raise CraftError(
                "the processor has no chat template; make a TransformersReader with your own "
                "prepare function"
            )

        def prepare(images: Sequence[Image.Image], text: str) -> Mapping[str, Tensor]:
            content: list[dict[str, Any]] = [{"type": "image", "image": i} for i in images]
            content.append({"type": "text", "text": text})
            return processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )

        def decode(ids: Tensor) -> str:
            return processor.decode(ids, skip_special_tokens=True)

        settings = processor.image_processor
        red, green, blue = (round(255 * value) for value in settings.image_mean)
        return cls(
            model,
            prepare,
            decode,
            view=_view_of(settings),
            mean_color=(red, green, blue),
        )

    def view(self, image: Image.Image) -> Box:
        return self.view_of(image.size)

    def attend(
        self, images: Sequence[Image.Image], prompts: Sequence[tuple[str, ...]]
    ) -> list[tuple[Look, ...]]:  # each [L, heads, h, w]
        """How much the last position of each prompt attends to each patch of its image.

        Raises:
            CraftError: there are no visual tokens, or they do not form a grid.
        """
        return [
            self._looks([self._inputs((image,), text) for text in texts])
            for image, texts in zip(images, prompts, strict=True)
        ]

    def answer(
        self,
        streams: Sequence[tuple[Stream, ...]],
        texts: Sequence[str],
        processors: LogitsProcessorList,
        **generation: Any,
    ) -> list[str]:
        """Continue each prompt greedily; the streams of a question are a batch.

        Raises:
            CraftError: a stream drops visual tokens.
        """
        answers = []
        for question, text in zip(streams, texts, strict=True):
            if any(stream.dropped is not None for stream in question):
                raise CraftError(
                    "this model's visual tokens cannot be dropped; choose a mask_mode that hides "
                    "pixels"
                )
            parts = [self._inputs(stream.images, text) for stream in question]
            inputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            ids = self.model.generate(
                **inputs,
                logits_processor=processors,
                **generation | GREEDY,
            )
            answers.append(self.decode(ids[0, inputs["input_ids"].shape[1] :]))
        return answers

    def _looks(self, prompts: Sequence[dict[str, Tensor]]) -> tuple[Look, ...]:
        """The look of each prompt; identical prompts share one."""
        different: list[tuple[dict[str, Tensor], Look]] = []
        looks = []
        for inputs in prompts:
            look = next((known for other, known in different if _same(inputs, other)), None)
            if look is None:
                look = self._look(inputs)
                different.append((inputs, look))
            looks.append(look)
        return tuple(looks)

    def _look(self, inputs: dict[str, Tensor]) -> Look:  # [L, heads, h, w]
        places = (inputs["input_ids"][0] == self.model.config.image_token_id).nonzero()[:, 0]
        rows, columns = self.grid_of(inputs)
        if not len(places) or rows * columns != len(places):
            raise CraftError(
                f"{len(places)} visual tokens (id {self.model.config.image_token_id}) do not form "
                f"a grid of {rows} x {columns}; pass grid= to say how they are arranged"
            )
        seen = last_row_attention(
            self.model.get_decoder(), lambda: self.model.base_model(**inputs, use_cache=False)
        )
        return Look(*(part[:, 0][..., places].unflatten(-1, (rows, columns)) for part in seen))

    def _inputs(self, images: Sequence[Image.Image], text: str) -> dict[str, Tensor]:
        inputs = self.prepare(images, text)
        return {
            name: x.to(self.model.device, self.model.dtype if x.is_floating_point() else None)
            for name, x in inputs.items()
        }

    def _grid_of(self, inputs: Mapping[str, Tensor]) -> tuple[int, int]:
        if "image_grid_thw" in inputs:
            merge = self.model.config.vision_config.spatial_merge_size
            _, rows, columns = (inputs["image_grid_thw"][0] // merge).tolist()
            return rows, columns
        count = int((inputs["input_ids"][0] == self.model.config.image_token_id).sum())
        return math.isqrt(count), math.isqrt(count)


def _same(inputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return inputs.keys() == others.keys() and all(
        torch.equal(x, others[name]) for name, x in inputs.items()
    )


def _view_of(settings: Any) -> Callable[[tuple[int, int]], Box]:
    """Function that gives the part of an image its processor keeps, as a box in the original."""
    if getattr(settings, "do_pad", False):
        raise CraftError(
            "this image processor pads, so its visual tokens cover more than the image; "
            "make a TransformersReader with your own view"
        )
    if not getattr(settings, "do_center_crop", False):
        return whole
    edge = dict(settings.size).get("shortest_edge")
    crop = settings.crop_size["height"], settings.crop_size["width"]
    if crop != (edge, edge):
        raise CraftError(
            f"this image processor resizes to {dict(settings.size)} and crops to {crop}; make a "
            "TransformersReader with your own view"
        )

    def middle(size: tuple[int, int]) -> Box:
        side = min(size)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        return Box(left, top, left + side, top + side)

    return middle
