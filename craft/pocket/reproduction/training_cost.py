"""Table 4: cost of a training step through a small and through a large language model.

Time and memory depend only on shapes, so weights are random. The pocket language models are all of
the same size; these are an encoder and two language models in the paper's proportions (0.3 to 0.5
and 7 billion weights), at least a hundred times smaller.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

import craft
from craft.adapters.lora import inject_lora
from craft.runtime.own_process import in_own_process
from craft.runtime.step_cost import step_cost
from craft.settings.training import LoraConfig
from craft_kernels import FrozenCodebook


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder, a codebook of ``codewords`` and ``levels``, and a language model."""

    vision: SiglipVisionConfig
    language: Qwen2Config
    codewords: int
    levels: int = 4


class TrainingStep:
    """Forward pass, backward pass and an AdamW step of the trained parameters.

    Args:
        trains: "craft" (the encoder through codes) or, on plain features, "vision", "projector" or
            "lora" (adapters in the language model).
        batch: number of images.
        text_tokens: tokens of each question with its answer, which is the last token.

    CRAFT's contrastive term is left out, because it only adds one token and reads cached text
    embeddings.
    """

    def __init__(self, shape: Shape, trains: str, batch: int, text_tokens: int):
        torch.manual_seed(0)
        width, hidden = shape.vision.hidden_size, shape.language.hidden_size
        self.width = width
        self.vision = SiglipVisionModel(shape.vision)
        self.language = Qwen2ForCausalLM(shape.language).eval().requires_grad_(False)
        self.projector = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.vision.requires_grad_(trains in ("craft", "vision"))
        self.projector.requires_grad_(trains == "projector")
        if trains == "lora":
            inject_lora(self.language, LoraConfig(), 0, encoder=False)
        self.codebook = None
        if trains == "craft":
            self.codebook = FrozenCodebook(torch.randn(shape.codewords, width), shape.levels)
        modules = (self.vision, self.projector, self.language)
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        side: Any = shape.vision.image_size  # its type allows non-square images
        self.pixels = torch.rand(batch, 3, side, side)
        self.text = torch.randint(shape.language.vocab_size, (batch, text_tokens))

    def __call__(self) -> None:
        features = self.vision(self.pixels, output_hidden_states=True).hidden_states[-2]
        visual, commitment = features, features.new_zeros(())
        if self.codebook is not None:
            codes = craft.quantize(features, self.codebook)
            visual = codes.quantized
            commitment = craft.commitment(codes.residual_sq_norms, self.width)
        words = self.language.get_input_embeddings()(self.text)
        embeds = torch.cat([self.projector(visual), words], 1)
        hidden = self.language.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        # One answer token: the vocabulary projection runs only where an answer is predicted.
        logits = self.language.lm_head(hidden[:, -2])
        (F.cross_entropy(logits, self.text[:, -1]) + commitment).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


_VISION = SiglipVisionConfig(
    hidden_size=256,
    intermediate_size=1024,
    num_hidden_layers=6,
    num_attention_heads=4,
    image_size=128,
    patch_size=16,
)
_SMALL = Qwen2Config(
    hidden_size=320,
    intermediate_size=1280,
    num_hidden_layers=5,
    num_attention_heads=5,
    num_key_value_heads=5,
    vocab_size=2048,
)
_LARGE = Qwen2Config(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_key_value_heads=12,
    vocab_size=2048,
)
#: Title -> shape and trained part; the others are compared with the first one.
VARIANTS = {
    "Vision FT, large model": (Shape(_VISION, _LARGE, 4096), "vision"),
    "CRAFT, large model": (Shape(_VISION, _LARGE, 4096), "craft"),
    "CRAFT, small model": (Shape(_VISION, _SMALL, 4096), "craft"),
    "LLM-LoRA, large model": (Shape(_VISION, _LARGE, 4096), "lora"),
}


def training_costs() -> dict[str, dict[str, float]]:
    """Median seconds per step and peak MiB of each variant, each measured in its own process."""
    rows = {}
    for title in VARIANTS:
        found = in_own_process("craft.pocket.reproduction.training_cost", title)
        rows[title] = {"seconds": median(found["seconds"]), "peak_mib": found["peak_mib"]}
    return rows


if __name__ == "__main__":
    shape, trains = VARIANTS[sys.argv[1]]
    print(json.dumps(step_cost(TrainingStep(shape, trains, 4, 32), 5)))
