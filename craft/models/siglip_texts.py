"""Contrastive texts as SigLIP's text tower embeds them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, SiglipModel


@torch.no_grad()
def text_embeddings(
    siglip: SiglipModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> Tensor:  # [n, D]
    """Pooled outputs of SigLIP's frozen text tower; computed once, since it never changes."""
    config: Any = siglip.config
    length = config.text_config.max_position_embeddings
    ids = tokenizer(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return cast(
        Any, siglip.get_text_features(input_ids=ids["input_ids"].to(siglip.device))
    ).pooler_output
