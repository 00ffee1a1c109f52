"""A model that behaves like VILA-U where our code touches it, written from its behaviour.

Names, tensor shapes and order of operations are VILA-U's; its code is not. The real one is tested
in test_vila_u_checkout.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, SiglipConfig, SiglipModel

IMAGE, IGNORE = -200, -100
WIDTH, CODES, SIZE, PATCH, LLM = 16, 24, 16, 4, 24


class Words(nn.Embedding):
    """Codewords and a last row of padding; in training mode they are updated from their inputs."""

    def nearest(self, x: Tensor) -> Tensor:  # [..., D] -> [...]
        words = self.weight[:-1].T
        flat = x.flatten(0, -2)
        scores = flat.pow(2).sum(1, keepdim=True) + words.pow(2).sum(0, keepdim=True)
        distances = torch.addmm(scores, flat, words, alpha=-2.0)
        return distances.argmin(1).view(x.shape[:-1])

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor) -> None:
        for code in codes.unique():
            self.weight[code] = 0.99 * self.weight[code] + 0.01 * x[codes == code].mean(0)


class Quantizer(nn.Module):
    def __init__(self, levels: int, shared: bool, grid: int = SIZE // PATCH):
        super().__init__()
        self.latent_shape = torch.Size((grid, grid, WIDTH))
        self.code_shape = torch.Size((grid, grid, levels))
        tables = [
            Words(CODES + 1, WIDTH, padding_idx=CODES) for _ in range(1 if shared else levels)
        ]
        self.codebooks: Any = nn.ModuleList(tables * levels if shared else tables)
        self.codebooks.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        residual, total = x.detach().clone(), torch.zeros_like(x)
        sums, codes = [], []
        for words in self.codebooks:
            code = words.nearest(residual)
            chosen = words(code)
            if self.training:
                words.follow(residual, code)
            residual.sub_(chosen)
            total.add_(chosen)
            sums.append(total.clone())
            codes.append(code)
        loss = torch.stack([(x - s.detach()).pow(2).mean() for s in sums]).mean()
        return x + (sums[-1] - x).detach(), loss, torch.stack(codes, -1)


class Encoder(nn.Module):
    def __init__(self, levels: int, shared: bool):
        super().__init__()
        block = {"intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
        vision = {"hidden_size": WIDTH, **block, "image_size": SIZE, "patch_size": PATCH}
        text = {"hidden_size": WIDTH, **block, "vocab_size": 12, "max_position_embeddings": 8}
        self.siglip_model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        self.quantizer = Quantizer(levels, shared)

    def encode_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        vision: Any = self.siglip_model.vision_model
        hidden = vision.embeddings(image)
        for block in vision.encoder.layers[:-1]:
            hidden = block(hidden, None)
        side = self.quantizer.latent_shape[0]
        quantized, _, codes = self.quantizer(hidden.unflatten(1, (side, side)))
        return codes, quantized


class Tower(nn.Module):
    def __init__(self, levels: int, shared: bool):
        super().__init__()
        self.vision_tower: Any = nn.Module()
        self.vision_tower.rqvaesiglip = Encoder(levels, shared)

    def forward(self, images: Tensor, text_vocab_size: int) -> tuple[Tensor, Tensor]:
        codes, quantized = self.vision_tower.rqvaesiglip.encode_image(images)
        return quantized.flatten(1, 2), codes.flatten(1, 2) + text_vocab_size


class StandIn(nn.Module):
    """Takes one image per row, at the place of ``IMAGE`` in its ids."""

    def __init__(self, levels: int = 4, shared: bool = True, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.vision_tower: Any = Tower(levels, shared)
            self.mm_projector = nn.Linear(WIDTH, LLM)
            config = LlamaConfig(
                hidden_size=LLM,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=40,
                initializer_range=0.8,
                pad_token_id=0,
            )
            self.llm: Any = LlamaForCausalLM(config)
        self.calls = 0
        self.eval()

    @property
    def encoder(self) -> Any:
        return self.vision_tower.vision_tower.rqvaesiglip

    def encode_images(self, images: Tensor, image_ids: Any) -> tuple[Tensor, Tensor]:
        self.calls += 1
        self.encoder.eval()
        features, tokens = self.vision_tower(images, self.llm.vocab_size)
        return self.mm_projector(features), tokens

    def prepare_inputs_labels_for_multimodal(
        self, input_ids, position_ids, attention_mask, past_key_values, labels, images
    ) -> tuple[Any, ...]:
        features, tokens = self.encode_images(images, input_ids[input_ids == IMAGE])
        words = self.llm.get_input_embeddings()(input_ids.clamp(min=0))
        rows = []
        for ids, embedded, feature in zip(input_ids, words, features, strict=True):
            at = int((ids == IMAGE).nonzero())
            rows.append(torch.cat([embedded[:at], feature, embedded[at + 1 :]]))
        if labels is not None:  # a sample that teaches generation: codes are the labels
            labels = tokens
        return None, position_ids, attention_mask, past_key_values, torch.stack(rows), labels

    def forward(self, input_ids: Tensor, images: Tensor, labels: Tensor | None = None) -> Any:
        prepared = self.prepare_inputs_labels_for_multimodal(
            input_ids, None, None, None, labels, images
        )
        logits = self.llm(inputs_embeds=prepared[4]).logits
        return SimpleNamespace(logits=logits, labels=prepared[5])

    @torch.inference_mode()
    def generate(self, input_ids: Tensor, images: Tensor | None = None) -> Tensor:
        if images is None:
            return self.llm.generate(input_ids=input_ids, max_new_tokens=4, do_sample=False)
        prepared = self.prepare_inputs_labels_for_multimodal(
            input_ids, None, None, None, None, images
        )
        return self.llm.generate(inputs_embeds=prepared[4], max_new_tokens=4, do_sample=False)

    def generate_content(self, prompt: list[Any]) -> Tensor:
        """Parts are pixels, or a Video of pixels, then ids."""
        images = [getattr(part, "frames", part) for part in prompt[:-1]]
        return self.generate(prompt[-1], torch.cat(images))


def pixels(count: int, seed: int = 1) -> Tensor:  # [n, 3, S, S] in [-1, 1]
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1


def question(count: int) -> Tensor:  # [n, 6]
    return torch.tensor([[1, 5, IMAGE, 7, 8, 9]]).expand(count, -1)
