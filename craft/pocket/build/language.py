"""Stage 2 of the pocket models: a small language model aligned to the frozen codebook.

There are three stages. *Text*: choosing the letter of the matching option is a separate circuit. It
forms in a few hundred steps on bare options without any image; with the questions' words around
them, it does not form in two thousand. *Projector*: the mean projected token learns to point in the
direction of its name's embedding, so that the circuit finds in images what it knows from names.
*Joint*: the model learns from all kinds of questions about images of the general world.

Visual sentences are deliberately noisy: a language model that expects only clean codes of its own
training images cannot follow an encoder that was adapted with another language model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
    get_scheduler,
)

from craft.data import prompts
from craft.data.images.image_set import ImageSet
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.projector import Projector
from craft.models.text_batch import training_batch
from craft.pocket.build.language_recipe import LanguageRecipe, language_config, start_names
from craft.pocket.build.lessons import Lessons, noisy_sentence

log = logging.getLogger(__name__)


class LanguageStage:
    """Trains one language model and its projector."""

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
        """Seed a stage's own random numbers, so that a resumed build draws the same ones."""
        seed = self.recipe.seed + 1000 * stage
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.lessons = Lessons(self.areas, self.recipe.shares, seed)

    def run(self, cache: Path) -> AlignedLanguageModel:
        """Run all stages, or load finished ones from ``cache``; the result is frozen."""
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
        """Run AdamW with warm-up; ``loss_of`` returns the loss and the share of correct letters."""
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
        """Loss on the letters of names, whose repeated, blurred embeddings stand for images."""
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
        """Loss that turns the mean projected token of an image towards its name's embedding."""
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
