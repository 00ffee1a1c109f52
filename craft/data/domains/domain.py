"""The protocol of data that an encoder can be adapted to."""

from __future__ import annotations

import random
from typing import Protocol

from craft.data.images.image_set import ImageSet
from craft.data.questions import Lesson, Question


class Domain(Protocol):
    """Images to adapt to, split into parts, and the questions about them.

    The two implementations are :class:`~craft.data.domains.class_domain.ClassDomain` and
    :class:`~craft.data.domains.question_domain.QuestionDomain`.
    """

    @property
    def name(self) -> str:
        """The name used in results and packs."""
        ...

    @property
    def train(self) -> ImageSet:
        """Images to train on."""
        ...

    @property
    def val(self) -> ImageSet:
        """Images that select the checkpoint."""
        ...

    @property
    def test(self) -> ImageSet:
        """Images to evaluate on."""
        ...

    @property
    def heldout(self) -> list[str]:
        """Classes held out of ``train`` and ``val``; empty if there are no classes."""
        ...

    @property
    def answers(self) -> list[str]:
        """All possible short answers."""
        ...

    @property
    def texts(self) -> list[str]:
        """Contrastive texts, indexed by :attr:`~craft.data.questions.Lesson.text`."""
        ...

    @property
    def contrastive_weight(self) -> float:
        """The paper's weight of the contrastive loss for this kind of data (section 4.1)."""
        ...

    @property
    def fixed_questions(self) -> bool:
        """Whether the questions come with the data, so that the seed does not change them."""
        ...

    def __len__(self) -> int:
        """The number of training examples."""
        ...

    def image_of(self, index: int) -> int:
        """The index in ``train`` of the image that training example ``index`` is about."""
        ...

    def lesson(self, index: int, rng: random.Random, naming: float) -> Lesson:
        """Make training example ``index``.

        ``naming`` is the fraction of open questions, where questions are made from classes.
        """
        ...

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """Make the questions about the images of one part."""
        ...
