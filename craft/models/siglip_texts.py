"""Embeddings of contrastive texts by SigLIP's text tower."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, SiglipModel

#: Bytes that the activations of a batch of texts may use.
BATCH_BYTES = 1 << 28


@torch.no_grad()
def text_embeddings(
    siglip: SiglipModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> Tensor:  # [n, D]
    """Pooled outputs of SigLIP's text tower; it is frozen, so callers compute them once."""
    config: Any = siglip.config
    text: Any = config.text_config
    length = text.max_position_embeddings
    # Of one block: its input, two normalised copies, queries, keys, values, and the MLP's inside.
    each = 4 * length * (6 * text.hidden_size + 2 * text.intermediate_size)
    batch = max(1, BATCH_BYTES // each)
    found = []
    for start in range(0, len(texts), batch):
        ids = tokenizer(
            texts[start : start + batch],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        features: Any = cast(Any, siglip).get_text_features(ids["input_ids"].to(siglip.device))
        found.append(features.pooler_output)
    return torch.cat(found)
