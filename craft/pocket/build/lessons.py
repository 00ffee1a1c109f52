"""What the pocket language models learn from: questions about images, and noisy visual tokens."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from craft.data import prompts
from craft.data.images.image_set import ImageSet
from craft.data.questions import draw_options
from craft.pocket.build.language_recipe import LanguageRecipe


class Lessons:
    """Draws questions and answers about images of the general world."""

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
        """Area and row of ``count`` random images."""
        areas = self.rng.choices(range(len(self.areas)), self.shares, k=count)
        return [(a, self.rng.randrange(len(self.areas[a]))) for a in areas]

    def options(self, area: int, label: str) -> tuple[list[str], str]:
        """Four options, in 30 % of cases from the label's own group, and the correct letter."""
        near = self.members[area][self.group_of[area][label]]
        pool = near if len(near) > 3 and self.rng.random() < 0.3 else self.classes[area]
        return draw_options(label, [c for c in pool if c != label], self.rng)

    def ask(self, area: int, label: str) -> tuple[str, str]:
        """A random question about an image of ``label``, and its answer."""
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
    """Replace, zero, jitter and drop visual tokens at random; their order stays."""
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
