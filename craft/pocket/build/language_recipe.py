"""Sizes, schedule and initial weights of the pocket language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    LlamaConfig,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from craft.data.images.augment import Augmentation
from craft.errors import CraftError
from craft.pocket.family import FAMILIES

#: Augmentations of the images that language models learn to read: nearly unchanged drawings. Only
#: the encoder knows outlines and pen strokes; making it express them in codes is CRAFT's task.
VIEWS = {
    "icons": Augmentation(blur=0.1),
    "flags": Augmentation(scale=(0.8, 1.2), rotation=8, blur=0.1),
    "glyphs": Augmentation(invert=0.5, rotation=10, blur=0.1),
}


@dataclass(frozen=True)
class LanguageRecipe:
    """Schedule of one language model's alignment; the ``language`` module explains the stages."""

    shares: tuple[float, ...] = (0.6, 0.15, 0.25)
    bare_steps: int = 250
    worded_steps: int = 260
    text_batch: int = 192
    name_tokens: int = 12
    projector_steps: int = 900
    projector_batch: int = 256
    projector_scale: float = 20.0
    joint_steps: tuple[int, ...] = (1000, 500)
    joint_batch: int = 64
    text_every: int = 6
    lr: float = 1.5e-3
    joint_lr: float = 1.2e-3
    replaced: float = 0.15
    zeroed: float = 0.1
    noise: float = 0.25
    shortest: float = 0.6
    seed: int = 0


def language_config(family: str, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Pocket-size config of a model class; its wide initialisation lets the look-up circuit form.

    Raises:
        CraftError: ``family`` is unknown.
    """
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.07,
        "tie_word_embeddings": True,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
    }
    if family == "qwen2":
        return Qwen2Config(hidden_size=128, intermediate_size=352, num_key_value_heads=2, **ids)
    if family == "llama":
        return LlamaConfig(hidden_size=96, intermediate_size=256, num_key_value_heads=4, **ids)
    if family == "phi":
        return PhiConfig(hidden_size=112, intermediate_size=448, num_key_value_heads=4, **ids)
    raise CraftError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")


@torch.no_grad()
def start_names(
    model: Any, tokenizer: PreTrainedTokenizerBase, meanings: dict[str, Tensor]
) -> None:
    """Initialise the embeddings of names from a text tower's, reduced to the model's width.

    Things that look alike then have similar embeddings, so naming an image is learnt as a smooth
    map instead of a table. Principal components keep as much of the differences as the width
    allows; every embedding keeps the norm of its random initialisation.
    """
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(meanings)))
    words = model.get_input_embeddings().weight
    known = F.normalize(torch.stack(list(meanings.values())), dim=-1)
    known = known - known.mean(0)
    components = torch.linalg.svd(known, full_matrices=False).Vh[: words.shape[1]]
    start = torch.zeros(len(ids), words.shape[1])
    start[:, : len(components)] = known @ components.T
    words[ids] = F.normalize(start, dim=-1) * words[ids].norm(dim=-1, keepdim=True)
