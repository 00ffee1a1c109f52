"""Sequences of image tokens followed by text, with padding on either side of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def embed_prefix(
    language_model: Any,
    prefix_ids: Sequence[int],
    image: Tensor,  # [B, M, H]
) -> Tensor:  # [B, P + M, H]
    """Put the tokens that precede every image, such as a system prompt, in front of the image."""
    if not prefix_ids:
        return image
    ids = torch.tensor([list(prefix_ids)], device=image.device)
    words = language_model.get_input_embeddings()(ids).to(image.dtype)
    return torch.cat([words.expand(len(image), -1, -1), image], 1)


def image_then_text(
    image: Tensor,  # [B, M, H]
    words: Tensor,  # [B, T, H]
    text_mask: Tensor,  # [B, T], 0 = padding
    on_the_left: bool | None = None,
) -> tuple[Tensor, Tensor]:  # [B, M + T, H], [B, M + T]
    """Input embeddings of image tokens followed by text, and their mask.

    Padding on the left of the text is moved in front of the image, so that positions do not depend
    on the length of the other questions in the batch.

    Args:
        on_the_left: whether any padding is on the left; by default read from the mask, which
            synchronises with the device.
    """
    mask = torch.cat([text_mask.new_ones(image.shape[:2]), text_mask], 1)
    embeds = torch.cat([image, words], 1)
    if on_the_left is None:
        on_the_left = bool((text_mask[:, 0] == 0).any())
    if on_the_left:
        order = mask_left(mask)
        embeds = embeds.gather(1, order[..., None].expand_as(embeds))
        mask = mask.gather(1, order)
    return embeds, mask


def mask_left(mask: Tensor) -> Tensor:  # [B, T] -> [B, T]
    """Indices that move the masked positions of each row to its front, stably."""
    return mask.argsort(dim=1, stable=True)


def left_padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:  # each [T, H]
    """Pad sequences on the left to one batch [B, T, H] and its mask [B, T], int64."""
    width = max(map(len, rows))
    embeds = rows[0].new_zeros(len(rows), width, rows[0].shape[1])
    mask = torch.zeros(len(rows), width, dtype=torch.long, device=embeds.device)
    for i, row in enumerate(rows):
        embeds[i, width - len(row) :] = row
        mask[i, width - len(row) :] = 1
    return embeds, mask
