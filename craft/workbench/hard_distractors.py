"""Similarity of images and class names under a frozen SigLIP pair, for hard distractors."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase, SiglipModel

from craft.data import prompts
from craft.data.images.image_set import ImageSet
from craft.data.images.store import in_batches
from craft.models.siglip_texts import text_embeddings
from craft.runtime.device import pixels_on


@torch.inference_mode()
def class_similarity(
    siglip: SiglipModel,
    tokenizer: PreTrainedTokenizerBase,
    images: ImageSet,
    classes: list[str],
    batch: int = 64,
) -> Tensor:  # [n, C], on the CPU
    """Cosine similarities of images with the ground-truth texts of classes.

    Classes whose texts have the same tokens get bit-identical columns.
    """
    config: Any = siglip.config
    size = config.vision_config.image_size
    texts = [prompts.caption(images.subject, name) for name in classes]
    ids = [tuple(row) for row in tokenizer(texts)["input_ids"]]
    different = {row: number for number, row in enumerate(dict.fromkeys(ids))}
    chosen = [texts[ids.index(row)] for row in different]
    said = F.normalize(text_embeddings(siglip, tokenizer, chosen), dim=-1)
    seen = [
        cast(Any, siglip.get_image_features(pixels_on(chunk, siglip.device) * 2 - 1)).pooler_output
        for chunk in in_batches(images.images, size, batch)
    ]
    cosines = (F.normalize(torch.cat(seen), dim=-1) @ said.T).cpu()
    return cosines[:, [different[row] for row in ids]]
