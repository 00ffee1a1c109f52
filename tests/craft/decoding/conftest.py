"""A random DiscreteLVLM with a tokenizer: 4 x 4 visual tokens of 4 pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config

from craft.codebook import Codebook
from craft.decoding import DiscreteReader
from craft.models import DiscreteLVLM, DiscreteLVLMConfig
from craft.prior import TokenPrior
from tests.craft.decoding.tiny_vlms import TEXT, tokenizer

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "initializer_range": 0.5,
}
FAMILIES = {"llama": LlamaConfig(**TEXT), "qwen2": Qwen2Config(**TEXT)}


@pytest.fixture(scope="session")
def discrete() -> Callable[..., DiscreteReader]:
    """Makes readers of one random model per family; keywords as for DiscreteReader."""
    models: dict[str, DiscreteLVLM] = {}

    def reader(family: str = "llama", **how: Any) -> DiscreteReader:
        if family not in models:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                config = DiscreteLVLMConfig(vision_config=VISION, text_config=FAMILIES[family])
                models[family] = DiscreteLVLM(config, Codebook(torch.randn(24, 16), 2)).eval()
        model = models[family]
        prior = TokenPrior(
            torch.arange(24) * 3 + 1,
            codebook_fingerprint=model.codebook.fingerprint,
            encoder_hash="x",
        )
        return DiscreteReader(model, tokenizer(), prior=prior, **how)

    return reader
