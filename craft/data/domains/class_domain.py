"""A domain of images that belong to classes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from craft.data import prompts
from craft.data.images.image_set import ImageSet
from craft.data.questions import Lesson, Question, draw_options, four_options


@dataclass(frozen=True)
class ClassDomain:
    """Images with class labels, to adapt to. No class of ``heldout`` is in ``train`` or ``val``.

    ``options`` maps ids of test images to fixed options; the others are drawn.
    """

    name: str
    subject: str
    classes: list[str]
    heldout: list[str]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def seen(self) -> list[str]:
        """The classes that are not held out."""
        heldout = set(self.heldout)
        return [name for name in self.classes if name not in heldout]

    @property
    def answers(self) -> list[str]:
        """All possible short answers: the classes."""
        return self.classes

    @cached_property
    def _class_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.train.classes)}

    @cached_property
    def _caption_texts(self) -> list[tuple[int, ...]]:
        """For each training image, the indices of its captions in ``texts``."""
        counts = [len(self._class_rows), *map(len, self.train.captions)]
        return [tuple(range(a, b)) for a, b in itertools.pairwise(itertools.accumulate(counts))]

    @property
    def texts(self) -> list[str]:
        """The contrastive texts: one per training class, then each caption followed by the text of
        its class (methods C9)."""
        return self._texts

    @cached_property
    def _texts(self) -> list[str]:
        ground_truth = [prompts.caption(self.subject, name) for name in self._class_rows]
        captioned = zip(self.train.captions, self.train.labels, strict=False)
        return ground_truth + [
            f"{text} {ground_truth[self._class_rows[label]]}"
            for texts, label in captioned
            for text in texts
        ]

    @property
    def contrastive_weight(self) -> float:
        """The paper's weight of the contrastive loss for images with classes."""
        return 1.0

    @property
    def fixed_questions(self) -> bool:
        """False: options are drawn anew for every seed."""
        return False

    def __len__(self) -> int:
        """The number of training examples."""
        return len(self.train)

    def image_of(self, index: int) -> int:
        """The image of training example ``index``; each image is one example."""
        return index

    def lesson(self, index: int, rng: random.Random, naming: float) -> Lesson:
        """Make training example ``index``: a four-option question or, with probability ``naming``,
        an open one.

        Distractors are seen classes only, so that no held-out name occurs in training
        (methods F2).
        """
        label = self.train.labels[index]
        key = self._class_rows[label]
        if rng.random() < naming:
            prompt, answer = prompts.short_answer(self.subject), label
        else:
            others = [name for name in self.seen if name != label]
            options, answer = draw_options(label, others, rng)
            prompt = prompts.multiple_choice(self.subject, options)
        captions = self._caption_texts[index] if self.train.captions else ()
        text = rng.choice([key, *captions]) if captions else key
        return Lesson(index, prompt, answer, text, (key,))

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """Make four-option questions about the images of a part.

        Distractors come from all classes for test images, otherwise from the seen ones.
        """
        pool = self.classes if part is self.test else self.seen
        return four_options(
            part.ids,
            part.labels,
            self.subject,
            pool,
            heldout=self.heldout,
            fixed=self.options,
            seed=seed,
        )
