"""Stage 2 of the pocket models: a small language model aligned to the frozen codebook.

There are three stages. *Text*: choosing the letter of the matching option is a separate circuit. It
forms in a few hundred steps on bare options without any image; with the questions' words around
them, it does not form in two thousand. *Projector*: the mean projected token learns to point in the
direction of its name's embedding, so that the circuit finds in images what it knows from names.
*Joint*: all kinds of questions about images of the general world.

Visual sentences are deliberately noisy: a language model that expects only clean codes of its own
training images cannot follow an encoder that was adapted with another language model.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    get_scheduler,
)

from craft.data import prompts
from craft.data.images.augment import Augmentation
from craft.data.images.image_set import ImageSet
from craft.data.questions import draw_options
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.projector import Projector
from craft.models.text_batch import training_batch
from craft.pocket.family import FAMILIES

log = logging.getLogger(__name__)

#: The views of the general world that language models learn to read: unchanged drawings. Only the
#: encoder knows outlines and pen strokes; it is CRAFT's task to make it say so.
VIEWS = {
    "icons": Augmentation(blur=0.1),
    "flags": Augmentation(scale=(0.8, 1.2), rotation=8, blur=0.1),
    "glyphs": Augmentation(invert=0.5, rotation=10, blur=0.1),
}


@dataclass(frozen=True)
class LanguageRecipe:
    """Schedule of one language model's alignment; the module's docstring explains the stages."""

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
    """The pocket configuration of a family. The wide initialisation lets the look-up circuit form.

    Raises:
        CraftError: unknown family.
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
    """Initialise the embeddings of names with those of a text tower, reduced to the model's width.

    Things that look alike then have similar names, and learning to name an image is a smooth map
    instead of a table. The principal components keep as much of the differences as the width
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

    def options(self, area: int, label: str) -> tuple[list[str], str]:
        """Four options, three in ten times from the label's own group, and the right letter."""
        near = self.members[area][self.group_of[area][label]]
        pool = near if len(near) > 3 and self.rng.random() < 0.3 else self.classes[area]
        return draw_options(label, [c for c in pool if c != label], self.rng)

    def ask(self, area: int, label: str) -> tuple[str, str]:
        """A random question about an image of ``label`` and its answer."""
        subject, group = self.areas[area].subject, self.group_of[area][label]
        kind = self.rng.random()
        if kind < 0.3:
            return prompts.short_answer(subject), label
        if kind < 0.36:
            return prompts.group_question(subject), group
        options, letter = self.options(area, label)
        if kind < 0.46:
            question = prompts.multiple_choice(subject, options, prompts.JUSTIFY)
            return question, prompts.justification(letter, label, group)
        return prompts.multiple_choice(subject, options), letter


def noisy_sentence(
    features: Tensor,  # [B, N, D]
    recipe: LanguageRecipe,
    generator: torch.Generator,
) -> Tensor:  # [B, M, D]
    """Replace, zero, jitter and drop visual tokens, in the same order."""
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


class LanguageStage:
    """One language model and its projector in training."""

    def __init__(
        self,
        family: str,
        areas: list[ImageSet],
        codes: list[Tensor],  # per area [n, V, N, L]: V augmented views of each image
        table: Tensor,  # [K, D]
        tokenizer: PreTrainedTokenizerBase,
        meanings: dict[str, Tensor],  # class name -> [D]
        fingerprint: str,
        recipe: LanguageRecipe,
    ):
        self.family = family
        self.areas = areas
        self.codes = codes
        self.table = table
        self.recipe = recipe
        self.tokenizer = tokenizer
        names = sorted({name for area in areas for name in area.labels})
        self.index = {name: i for i, name in enumerate(names)}
        self.name_ids = torch.tensor(tokenizer.convert_tokens_to_ids(names))
        self._seed(0)
        model: Any = AutoModelForCausalLM.from_config(
            language_config(family, tokenizer), trust_remote_code=False
        ).float()
        hidden = model.config.hidden_size
        start_names(model, tokenizer, meanings)
        projector = Projector(table.shape[1], hidden, inner=4 * hidden)
        self.aligned = AlignedLanguageModel(model, projector, tokenizer, fingerprint, family)

    def _seed(self, stage: int) -> None:
        """Every stage has its own random numbers, so that a resumed build draws the same ones."""
        seed = self.recipe.seed + 1000 * stage
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.lessons = Lessons(self.areas, self.recipe.shares, seed)

    def run(self, cache: Path) -> AlignedLanguageModel:
        """Run all stages, each stored in ``cache`` or taken from there; the result is frozen."""
        stages = {"text": self._learn_text, "projector": self._learn_projector}
        for i, steps in enumerate(self.recipe.joint_steps):
            stages[f"joint-{i + 1}"] = partial(self._learn_jointly, steps)
        for number, (name, learn) in enumerate(stages.items()):
            directory = cache / f"{self.family}-{name}"
            if directory.is_dir():
                self.aligned = AlignedLanguageModel.from_pretrained(directory)
                log.info("%s: %s taken from %s", self.family, name, directory)
                continue
            self._seed(number)
            self.aligned.train().requires_grad_(True)
            learn(name)
            self.aligned.save_pretrained(directory)
        return self.aligned.eval().requires_grad_(False)

    def _learn_text(self, name: str) -> None:
        recipe, bare = self.recipe, self.recipe.bare_steps
        # The rate stays high: the circuit has to adapt from bare to worded questions.
        self._optimise(
            name,
            bare + recipe.worded_steps,
            recipe.lr,
            lambda step: self._text(step >= bare),
            decay=False,
        )

    def _learn_projector(self, name: str) -> None:
        recipe = self.recipe
        self._optimise(name, recipe.projector_steps, 2 * recipe.lr, lambda _: self._pooled())

    def _learn_jointly(self, steps: int, name: str) -> None:
        self._optimise(
            name,
            steps,
            self.recipe.joint_lr,
            lambda step: self._text(True) if step % self.recipe.text_every == 0 else self._images(),
        )

    def _optimise(
        self,
        stage: str,
        steps: int,
        lr: float,
        loss_of: Callable[[int], tuple[Tensor, float]],
        decay: bool = True,
    ) -> None:
        """AdamW with warm-up. ``loss_of`` gives the loss and the share of letters right."""
        optimizer = torch.optim.AdamW(
            self.aligned.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01
        )
        schedule = get_scheduler(
            "cosine" if decay else "constant_with_warmup", optimizer, steps // 10, steps
        )
        started = time.monotonic()
        recent: list[float] = []
        for step in range(steps):
            loss, right = loss_of(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.aligned.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent.append(right)
            if step % 50 == 49 or step == steps - 1:
                log.info(
                    "%s %s step %d/%d loss %.3f right %.3f %.2f steps/s",
                    self.family, stage, step + 1, steps, loss.item(),
                    sum(recent) / len(recent), (step + 1) / (time.monotonic() - started),
                )  # fmt: skip
                recent.clear()

    def _text(self, worded: bool) -> tuple[Tensor, float]:
        """Questions for the letter of the name that precedes the options, blurred and repeated."""
        count = self.recipe.text_batch if not worded else self.recipe.joint_batch * 2
        times = self.lessons.rng.randint(1, self.recipe.name_tokens)
        picked = self.lessons.pick(count)
        labels = [self.areas[a].labels[i] for a, i in picked]
        asked = []
        for (area, _), label in zip(picked, labels, strict=True):
            if worded and self.lessons.rng.random() < 0.25:
                asked.append(self.lessons.ask(area, label))
            elif worded and self.lessons.rng.random() < 0.75:
                options, letter = self.lessons.options(area, label)
                subject = self.areas[area].subject
                asked.append((prompts.multiple_choice(subject, options), letter))
            else:
                options, letter = self.lessons.options(area, label)
                asked.append((prompts.option_lines(options), letter))
        names = self.tokenizer.convert_tokens_to_ids(labels)
        words = self.aligned.language_model.get_input_embeddings()(torch.tensor(names))
        seen = words[:, None].expand(-1, times, -1)
        blur = torch.rand(count, 1, 1, generator=self.generator) * words.detach().std()
        seen = seen + torch.randn(seen.shape, generator=self.generator) * blur
        return self._answer(seen, asked)

    def _features(self, picked: list[tuple[int, int]]) -> Tensor:  # [B, N, D]
        views = [
            self.codes[a][i, self.lessons.rng.randrange(self.codes[a].shape[1])] for a, i in picked
        ]
        return F.embedding(torch.stack(views).long(), self.table).sum(2)

    def _pooled(self) -> tuple[Tensor, float]:
        """A loss that turns the mean projected token of an image towards its name's embedding."""
        picked = self.lessons.pick(self.recipe.projector_batch)
        visual = noisy_sentence(self._features(picked), self.recipe, self.generator)
        targets = torch.tensor([self.index[self.areas[a].labels[i]] for a, i in picked])
        words = self.aligned.language_model.get_input_embeddings().weight.detach()[self.name_ids]
        pooled = self.aligned.projector(visual).mean(1)
        logits = F.normalize(pooled, dim=-1) @ F.normalize(words, dim=-1).T
        loss = F.cross_entropy(logits * self.recipe.projector_scale, targets)
        # The language model has learnt to read tokens of its own embeddings' size.
        size = (pooled.norm(dim=-1) / words.norm(dim=-1).mean() - 1).square().mean()
        return loss + size, (logits.argmax(1) == targets).float().mean().item()

    def _images(self) -> tuple[Tensor, float]:
        picked = self.lessons.pick(self.recipe.joint_batch)
        visual = noisy_sentence(self._features(picked), self.recipe, self.generator)
        asked = [self.lessons.ask(a, self.areas[a].labels[i]) for a, i in picked]
        return self._answer(self.aligned.projector(visual), asked)

    def _answer(self, image: Tensor, asked: list[tuple[str, str]]) -> tuple[Tensor, float]:
        batch = training_batch(self.tokenizer, [q for q, _ in asked], [a for _, a in asked])
        logits, targets = self.aligned.answer_logits(image, batch, projected=True)
        first = batch.first_answers
        right = (logits[first].argmax(1) == targets[first]).float()
        letters = torch.tensor([answer in prompts.LETTERS for _, answer in asked])
        return F.cross_entropy(logits, targets), right[letters].mean().item()
