"""Stage 2 of the pocket models: a small language model aligned to the frozen codebook.

Text first (choosing the letter of the matching option is a circuit of its own and forms fastest on
text alone), then images of the general world. Visual sentences are made noisy on purpose: a
language model that expects only clean codes of its own training images cannot follow an encoder
that somebody adapted with another language model.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from craft.data import prompts
from craft.data.dialogues import training_batch
from craft.models.lvlm import DiscreteLVLM
from craft.models.projector import Projector
from craft.data.image_set import ImageSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageRecipe:
    """Schedule of one language model's alignment."""

    warmup_steps: int = 500
    warmup_batch: int = 128
    steps: int = 2200
    batch: int = 64
    text_every: int = 5
    shares: tuple[float, ...] = (0.6, 0.15, 0.25)
    lr: float = 1.5e-3
    replaced: float = 0.15
    zeroed: float = 0.1
    noise: float = 0.25
    shortest: float = 0.6
    seed: int = 0


def language_config(family: str, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The pocket configuration of a family. The wide initial spread lets the look-up circuit form.

    Raises:
        ValueError: unknown family.
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
    raise ValueError(f"family must be 'qwen2' or 'llama', got {family!r}")


class Lessons:
    """Question and answer texts about images of the general world."""

    def __init__(self, areas: list[ImageSet], shares: tuple[float, ...], seed: int):
        self.areas = areas
        self.rng = random.Random(seed)
        self.classes = [area.classes for area in areas]
        self.group_of = [dict(zip(a.labels, a.groups, strict=True)) for a in areas]
        self.members: list[dict[str, list[str]]] = []
        for groups in self.group_of:
            members: dict[str, list[str]] = {}
            for label, group in sorted(groups.items()):
                members.setdefault(group, []).append(label)
            self.members.append(members)
        self.shares = shares

    def pick(self, count: int) -> list[tuple[int, int]]:
        """Area and row of `count` random images."""
        areas = self.rng.choices(range(len(self.areas)), self.shares, k=count)
        return [(a, self.rng.randrange(len(self.areas[a]))) for a in areas]

    def ask(self, area: int, label: str, letters_only: bool = False) -> tuple[str, str]:
        """A random question about an image of ``label`` and its answer."""
        subject, group = self.areas[area].subject, self.group_of[area][label]
        kind = self.rng.random()
        if not letters_only and kind < 0.3:
            return prompts.short_answer(subject), label
        if not letters_only and kind < 0.38:
            return prompts.group_question(subject), group
        near = self.members[area][group]
        pool = near if len(near) > 3 and self.rng.random() < 0.3 else self.classes[area]
        wrong = self.rng.sample([c for c in pool if c != label], 3)
        options = [label, *wrong]
        self.rng.shuffle(options)
        letter = prompts.LETTERS[options.index(label)]
        if not letters_only and kind < 0.5:
            question = prompts.multiple_choice(subject, options, prompts.JUSTIFY)
            return question, prompts.justification(letter, label, group)
        return prompts.multiple_choice(subject, options), letter


def noisy_sentence(
    features: Tensor,  # [B, N, D]
    recipe: LanguageRecipe,
    generator: torch.Generator,
) -> Tensor:  # [B, M, D]
    """Replace, zero, jitter and drop visual tokens; order is kept."""
    b, n, _ = features.shape
    draw = torch.rand(b, n, generator=generator)
    strength = torch.rand(b, 1, generator=generator)
    other = features.roll(1, 0)
    replaced = draw < recipe.replaced * 2 * strength
    zeroed = draw > 1 - recipe.zeroed * 2 * strength
    noisy = torch.where(replaced[..., None], other, features)
    noisy = noisy.masked_fill(zeroed[..., None], 0)
    spread = features.std() * recipe.noise * 2 * strength[..., None]
    noisy = noisy + torch.randn(noisy.shape, generator=generator) * spread
    if torch.rand((), generator=generator) < 0.5:
        low = round(n * recipe.shortest)
        kept = int(torch.randint(low, n + 1, (), generator=generator))
        order = torch.rand(b, n, generator=generator).argsort(1)[:, :kept].sort(1).values
        noisy = noisy.gather(1, order[..., None].expand(-1, -1, noisy.shape[2]))
    return noisy


def train_language(
    family: str,
    areas: list[ImageSet],
    codes: list[Tensor],  # per area [n, V, N, L]: V augmented views of each image
    table: Tensor,  # [K, D]
    tokenizer: PreTrainedTokenizerBase,
    fingerprint: str,
    recipe: LanguageRecipe,
) -> DiscreteLVLM:
    """Align one language model to the codebook and return it frozen."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    lessons = Lessons(areas, recipe.shares, recipe.seed)
    model = AutoModelForCausalLM.from_config(language_config(family, tokenizer)).float()
    projector = Projector(table.shape[1], model.config.hidden_size)
    lvlm = DiscreteLVLM(model, projector, tokenizer, fingerprint, family).train()
    optimizer = torch.optim.AdamW(
        lvlm.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    total = recipe.warmup_steps + recipe.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total, pct_start=0.05, cycle_momentum=False
    )

    def text_loss(count: int) -> Tensor:
        """The same questions with the class name in place of the image."""
        picked = lessons.pick(count)
        labels = [areas[a].labels[i] for a, i in picked]
        mostly_letters = lessons.rng.random() < 0.7
        asked = [
            lessons.ask(area, label, mostly_letters)
            for (area, _), label in zip(picked, labels, strict=True)
        ]
        texts = [f"{label} {question}" for label, (question, _) in zip(labels, asked, strict=True)]
        batch = training_batch(tokenizer, texts, [answer for _, answer in asked])
        nothing = table.new_zeros(count, 0, table.shape[1])
        return lvlm.answer_loss(nothing, batch)

    def image_loss(count: int) -> tuple[Tensor, float]:
        picked = lessons.pick(count)
        views = [codes[a][i, lessons.rng.randrange(codes[a].shape[1])] for a, i in picked]
        features = table[torch.stack(views).long()].sum(2)
        visual = noisy_sentence(features, recipe, generator)
        asked = [lessons.ask(a, areas[a].labels[i]) for a, i in picked]
        batch = training_batch(tokenizer, [q for q, _ in asked], [x for _, x in asked])
        logits, targets = lvlm.answer_logits(visual, batch)
        return F.cross_entropy(logits, targets), (logits.argmax(1) == targets).float().mean().item()

    started = time.monotonic()
    right = 0.0
    for step in range(total):
        text = step < recipe.warmup_steps or step % recipe.text_every == 0
        if text:
            loss = text_loss(recipe.warmup_batch if step < recipe.warmup_steps else recipe.batch)
        else:
            loss, right = image_loss(recipe.batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(lvlm.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 1 or step == total - 1:
            log.info(
                "%s step %d/%d %s loss %.3f image tokens right %.3f %.2f steps/s",
                family, step, total, "text" if text else "image", loss.item(), right,
                (step + 1) / (time.monotonic() - started),
            )  # fmt: skip
    return lvlm.eval().requires_grad_(False)
