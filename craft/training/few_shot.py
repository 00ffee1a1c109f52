"""HeBA's original task: few-shot base-to-novel classification with a frozen CLIP or SigLIP pair.

Adapters in both towers learn the base classes from a few images each; novel classes are known only
by name, at test time. Loss and recipe are those of the public code (arXiv 2603.16653;
docs/heba.md).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craft.adapters.installation import heba_parameters, install_heba, remove_heba
from craft.errors import CraftError
from craft.runtime.device import to_device
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.heba import HebaConfig

#: Turns stored images into training images: uint8 [b, 3, S, S] -> pixels [b, 3, size, size].
View = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class FewShotRecipe:
    """How adapters are trained; the defaults are HeBA's for base-to-novel.

    Args:
        shots: most training images per class.
        epochs, batch, lr, momentum, weight_decay: SGD with cosine decay to 0, no warm-up.
        smoothing: label smoothing over all classes in the loss.
        negatives: other classes in the loss, per class of the batch; all classes are used if there
            are no more of them than images in the batch.
        seed: of order, shots, views, negatives, prompts and adapters.
    """

    shots: int = 16
    epochs: int = 30
    batch: int = 16
    lr: float = 0.0075
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    negatives: int = 5
    seed: int = 0


@dataclass(frozen=True)
class ClassImages:
    """Images of some classes: uint8 [n, 3, S, S] and class numbers [n]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class FewShotTask:
    """Images and prompts of a base-to-novel task.

    ``train`` has only base classes, ``test`` all. ``prompts`` are token ids [p, T] of one or more
    sentences per class; ``base`` and ``novel`` are class numbers.

    Raises:
        CraftError: two classes have the same sentences, so rounding would decide between them.
    """

    train: ClassImages
    test: ClassImages
    prompts: list[Tensor]
    base: list[int]
    novel: list[int]

    def __post_init__(self) -> None:
        numbers: dict[str, int] = {}
        for number, ids in enumerate(self.prompts):
            first = numbers.setdefault(str(ids.tolist()), number)
            if first != number:
                raise CraftError(
                    f"classes {first} and {number} have the same sentences, so nothing tells them "
                    "apart; give them names that the tokenizer knows"
                )


@dataclass(frozen=True)
class FewShotScores:
    """Accuracy in per cent of base images among base classes and of novel among novel ones."""

    base: float
    novel: float
    losses: list[float] = field(default_factory=list)
    trained: int = 0

    @property
    def harmonic_mean(self) -> float:
        total = self.base + self.novel
        return 2 * self.base * self.novel / total if total else 0.0


class FewShotLearner:
    """A pair with adapters in its towers, which leaving the context removes.

    Args:
        pair: a SiglipModel or CLIPModel, frozen; its temperature is used as it is.
        grid: rows and columns of its vision tower's patches.
        vision, text: adapters of each tower, or None for none.
        view, plain: turn stored images into pixels for training and for testing.
        seed: of the adapters' initial weights.
    """

    def __init__(
        self,
        pair: Any,
        grid: tuple[int, int],
        *,
        vision: HebaConfig | None,
        text: HebaConfig | None,
        view: View,
        plain: Callable[[Tensor], Tensor],
        seed: int = 0,
    ):
        self.pair = pair
        self.view = view
        self.plain = plain
        self.towers: list[nn.Module] = []
        pair.eval().requires_grad_(False)
        with own_random_numbers(pair.device, seed):
            for tower, config, size in (
                (pair.vision_model, vision, grid),
                (pair.text_model, text, None),
            ):
                if config is not None:
                    install_heba(tower, config, grid=size)
                    self.towers.append(tower)
        self.trained = {
            f"{type(tower).__name__}.{name}": p
            for tower in self.towers
            for name, p in heba_parameters(tower).items()
        }

    def __enter__(self) -> FewShotLearner:
        return self

    def __exit__(self, *_: object) -> None:
        for tower in self.towers:
            remove_heba(tower)

    def fit(
        self,
        task: FewShotTask,
        recipe: FewShotRecipe,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
    ) -> list[float]:
        """Train the adapters on the task's base classes; returns the loss of every step.

        Args:
            on_step: called with (steps done, steps), first with 0.

        Raises:
            CraftError: a loss is not finite.
        """
        generator = torch.Generator().manual_seed(recipe.seed)
        rows = few_shots(task.train.labels, recipe.shots, generator)
        steps = recipe.epochs * -(-len(rows) // recipe.batch)
        optimizer = torch.optim.SGD(
            self.trained.values(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses: list[float] = []
        on_step(0, steps)
        # The adapters draw random numbers.
        with own_random_numbers(self.pair.device, recipe.seed), self._training():
            for chosen in _batches(rows, recipe, generator):
                loss = self.loss(
                    self.view(to_device(task.train.images[chosen], self.pair.device), generator),
                    task.train.labels[chosen],
                    task,
                    recipe,
                    generator,
                )
                value = loss.item()
                if not math.isfinite(value):
                    raise CraftError(
                        f"the loss is not finite at step {len(losses) + 1}: {value}; lower "
                        f"lr (now {recipe.lr})"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(value)
                on_step(len(losses), steps)
        return losses

    def loss(
        self,
        pixels: Tensor,  # [b, 3, S, S]
        labels: Tensor,  # [b]
        task: FewShotTask,
        recipe: FewShotRecipe,
        generator: torch.Generator,
    ) -> Tensor:  # []
        """Cross-entropy with smoothed labels over the batch's classes and sampled negatives, each
        named by one of its sentences."""
        classes = sampled_classes(labels, task.base, recipe, generator)
        drawn = [
            task.prompts[c][int(torch.randint(len(task.prompts[c]), (), generator=generator))]
            for c in classes.tolist()
        ]
        logits = self._logits(self._seen(pixels), self._said(torch.stack(drawn)))
        places = torch.searchsorted(classes, labels).to(logits.device)
        return F.cross_entropy(logits, places, label_smoothing=recipe.smoothing)

    @torch.inference_mode()
    def scores(self, task: FewShotTask, batch: int = 128) -> FewShotScores:
        """Classify test images of base classes among base classes, and novel among novel ones."""
        images = task.test.images.split(batch)
        seen = torch.cat([self._seen(self.plain(to_device(x, self.pair.device))) for x in images])
        said = torch.stack([F.normalize(self._said(p).mean(0), dim=-1) for p in task.prompts])
        found = []
        for classes in (task.base, task.novel):
            names = torch.tensor(classes)
            rows = torch.isin(task.test.labels, names)
            best = names[self._logits(seen[rows], said[names]).argmax(1).cpu()]
            found.append(100.0 * float((best == task.test.labels[rows]).float().mean()))
        return FewShotScores(found[0], found[1])

    def _seen(self, pixels: Tensor) -> Tensor:  # [b, D], unit length
        return F.normalize(
            self.pair.get_image_features(pixels.to(self.pair.device)).pooler_output, dim=-1
        )

    def _said(self, ids: Tensor) -> Tensor:  # [n, T] -> [n, D], unit length
        return F.normalize(
            self.pair.get_text_features(input_ids=ids.to(self.pair.device)).pooler_output, dim=-1
        )

    def _logits(self, seen: Tensor, said: Tensor) -> Tensor:
        """Scaled similarities; SigLIP's bias is left out, as a softmax ignores it."""
        return self.pair.logit_scale.exp() * seen @ said.T

    @contextlib.contextmanager
    def _training(self) -> Iterator[None]:
        for tower in self.towers:
            tower.train()
        try:
            yield
        finally:
            self.pair.eval()


def few_shots(
    labels: Tensor,  # [n]
    shots: int,
    generator: torch.Generator,
) -> Tensor:  # [m]
    """Rows of at most ``shots`` images of every class."""
    order = torch.randperm(len(labels), generator=generator)
    taken = [order[labels[order] == c][:shots] for c in labels.unique()]
    return torch.cat(taken)


def sampled_classes(
    labels: Tensor,  # [b]
    classes: Sequence[int],
    recipe: FewShotRecipe,
    generator: torch.Generator,
) -> Tensor:  # [c], ascending
    """The classes in a step's loss: those of the batch, and ``negatives`` others per class."""
    every = torch.tensor(sorted(classes))
    if len(every) <= len(labels):
        return every
    present = labels.unique()
    others = every[~torch.isin(every, present)]
    count = min(len(others), recipe.negatives * len(present))
    drawn = others[torch.randperm(len(others), generator=generator)[:count]]
    return torch.cat([present, drawn]).sort().values


def _batches(rows: Tensor, recipe: FewShotRecipe, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(recipe.epochs):
        yield from rows[torch.randperm(len(rows), generator=generator)].split(recipe.batch)
