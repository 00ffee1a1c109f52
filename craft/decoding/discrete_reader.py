"""LASER's interface to a DiscreteLVLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from craft.data.images.record_store import image_tensor
from craft.decoding.attention_capture import last_row_attention
from craft.decoding.crop import Box, whole
from craft.decoding.look import Look
from craft.decoding.reader import GREEDY, Stream
from craft.errors import CraftError
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.prompt_template import PromptTemplate
from craft.models.sequence import embed_prefix, left_padded
from craft.prior import TokenPrior
from craft.settings.choices import Selector


class DiscreteReader:
    """Questions to a :class:`~craft.models.discrete_lvlm.DiscreteLVLM` about images of any size.

    Images are resized to the encoder's size without keeping their aspect ratio, as in training. The
    look that finds the evidence is unpruned; the tokens that the answer is read from are pruned,
    with one budget for both streams.

    Args:
        tokenizer: the language model's.
        template: the text around image and question that the language model was trained with, as
            in ``template`` of an
            :class:`~craft.models.aligned_language_model.AlignedLanguageModel`; by default the
            prefix from the model's config, and the bare question.
        keep_ratio, prior, selector, seed: as for :meth:`DiscreteLVLM.visual_tokens`.
        prune_look: also prune for the first look; pruned tokens then get no attention.

    Raises:
        CraftError: the tokenizer has no pad token.
    """

    def __init__(
        self,
        model: DiscreteLVLM,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: PromptTemplate | None = None,
        keep_ratio: float = 1.0,
        prior: TokenPrior | None = None,
        selector: Selector = "full",
        seed: int = 0,
        prune_look: bool = False,
    ):
        if tokenizer.pad_token_id is None:
            raise CraftError(
                "the tokenizer has no pad token; set tokenizer.pad_token, e.g. to its eos token"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.template = template or PromptTemplate()
        self.prefix_ids = model.config.prefix_ids or []
        if template is not None:
            self.prefix_ids = template.prefix_ids(tokenizer)
        self.pruning: dict[str, Any] = {"prior": prior, "selector": selector, "seed": seed}
        self.keep_ratio = keep_ratio
        self.look_ratio = keep_ratio if prune_look else 1.0
        self.grid: tuple[int, int] | None = model.tower.grid
        # SigLIP's inputs are in [-1, 1].
        self.mean_color: tuple[int, int, int] = (128, 128, 128)

    def view(self, image: Image.Image) -> Box:
        return whole(image.size)

    def attend(
        self, images: Sequence[Image.Image], prompts: Sequence[tuple[str, ...]]
    ) -> list[tuple[Look, ...]]:  # each [L, heads, h, w]
        """How much the last position of each prompt attends to each patch; all in one batch."""
        tokens = self._tokens(images, self.look_ratio)
        sentences = self._project(tokens)
        ids = self._ids([text for texts in prompts for text in texts])
        numbers = [number for number, texts in enumerate(prompts) for _ in texts]
        asked = list(zip(numbers, ids, strict=True))
        # Identical prompts about one image share a row, since rows of a batch differ by rounding.
        rows = {key: row for row, key in enumerate(dict.fromkeys(asked))}
        embeds, mask = self._joined(
            [sentences[number] for number, _ in rows], self._words([words for _, words in rows])
        )
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        decoder = self.model.language_model.get_decoder()
        seen = last_row_attention(
            decoder,
            lambda: decoder(
                inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
            ),
        )
        # Where each row's image begins.
        starts = ((mask == 0).sum(1) + len(self.prefix_ids)).tolist()
        looks = []
        for (number, _), row in rows.items():
            cells, start = tokens[number][0], starts[row]
            parts = (part[:, row, :, start : start + len(cells)] for part in seen)
            looks.append(Look(*(self._on_grid(part, cells) for part in parts)))
        in_order = iter(asked)
        return [tuple(looks[rows[next(in_order)]] for _ in texts) for texts in prompts]

    def answer(
        self,
        streams: Sequence[tuple[Stream, ...]],
        texts: Sequence[str],
        processors: LogitsProcessorList,
        **generation: Any,
    ) -> list[str]:
        """Continue each prompt greedily over its streams; all questions in one batch."""
        in_order = [stream for column in zip(*streams, strict=True) for stream in column]
        images = [image for stream in in_order for image in stream.images]
        tokens = iter(self._tokens(images, self.keep_ratio))
        sentences = [self._sentence(stream, tokens) for stream in in_order]
        words = self._words(self._ids(texts)) * len(streams[0])
        embeds, mask = self._joined(sentences, words)
        ids = self.model.language_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            logits_processor=processors,
            **{"pad_token_id": self.tokenizer.pad_token_id} | generation | GREEDY,
        )
        return self.tokenizer.batch_decode(ids[: len(streams)], skip_special_tokens=True)

    @torch.inference_mode()
    def next_token_logits(self, image: Image.Image, text: str) -> Tensor:  # [V] float32
        """Logits of the first token of the answer, by plain decoding."""
        tokens = self._tokens([image.convert("RGB")], self.keep_ratio)
        embeds, mask = self._joined(self._project(tokens), self._words(self._ids([text])))
        model = self.model.language_model
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        found = model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
        )
        return found.logits[0, -1].float()

    def _tokens(
        self, images: Sequence[Image.Image], keep_ratio: float
    ) -> list[tuple[Tensor, Tensor]]:  # cells [M], features [M, D]
        """The kept visual tokens of every image, in raster order."""
        tower = self.model.tower
        place = tower.embeddings.patch_embedding.weight
        pixels = torch.stack([image_tensor(image, tower.image_size) for image in images])
        kept = self.model.kept_tokens(
            pixels.to(place.device, place.dtype) / 255 * 2 - 1,
            keep_ratio=keep_ratio,
            # Random choices must not depend on an image's position in the batch.
            image_index=torch.zeros(len(images), dtype=torch.long),
            **self.pruning,
        )
        return list(zip(kept.indices, kept.tensors[0], strict=True))

    def _on_grid(self, weights: Tensor, cells: Tensor) -> Tensor:  # [L, heads, M] to [.., h, w]
        """Scatter attention to the kept tokens onto the grid; pruned tokens get 0."""
        rows, columns = self.model.tower.grid
        look = weights.new_zeros(*weights.shape[:2], rows * columns)
        look[..., cells] = weights
        return look.unflatten(-1, (rows, columns))

    def _project(self, tokens: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:  # each [M, H]
        dtype = self.model.get_input_embeddings().weight.dtype
        return [self.model.projector(features.to(dtype)) for _, features in tokens]

    def _sentence(
        self, stream: Stream, tokens: Iterator[tuple[Tensor, Tensor]]
    ) -> Tensor:  # [M, H]
        """The next images of ``tokens``, concatenated, without the dropped cells."""
        chosen = []
        for number in range(len(stream.images)):
            cells, features = next(tokens)
            if stream.dropped is not None:
                stays = ~stream.dropped[number].flatten().to(cells.device)[cells]
                cells, features = cells[stays], features[stays]
            chosen.append((cells, features))
        return torch.cat(self._project(chosen))

    def _joined(
        self, sentences: Sequence[Tensor], words: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:  # [B, T, H], [B, T]
        """Concatenate prefix, image and text of each row, padded on the left."""
        rows = [
            torch.cat([embed_prefix(self.model, self.prefix_ids, sentence[None])[0], text])
            for sentence, text in zip(sentences, words, strict=True)
        ]
        return left_padded(rows)

    def _ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text in the model's template."""
        asked = [self.template.ask(text) for text in texts]
        return [tuple(row) for row in self.tokenizer(asked, add_special_tokens=False)["input_ids"]]

    def _words(self, ids: Sequence[tuple[int, ...]]) -> list[Tensor]:  # each [T, H]
        embeddings = self.model.get_input_embeddings()
        device = embeddings.weight.device
        return [embeddings(torch.tensor(row, dtype=torch.long, device=device)) for row in ids]
