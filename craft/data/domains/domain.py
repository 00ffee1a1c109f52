"""What an encoder can be adapted to."""

from __future__ import annotations

import random
from typing import Protocol

from craft.data.images.image_set import ImageSet
from craft.data.questions import Lesson, Question


class Domain(Protocol):
    """Images to adapt to, split into parts, and what is asked about them.

    Its two kinds are :class:`~craft.data.domains.class_domain.ClassDomain` and
    :class:`~craft.data.domains.question_domain.QuestionDomain`.
    """

    @property
    def name(self) -> str:
        """What results and packs call it."""
        ...

    @property
    def train(self) -> ImageSet:
        """Images that are learnt from."""
        ...

    @property
    def val(self) -> ImageSet:
        """Images that choose a checkpoint."""
        ...

    @property
    def test(self) -> ImageSet:
        """Images of the exam."""
        ...

    @property
    def heldout(self) -> list[str]:
        """Classes that are kept out of ``train`` and ``val``; empty if there are no classes."""
        ...

    @property
    def answers(self) -> list[str]:
        """All short answers there are."""
        ...

    @property
    def texts(self) -> list[str]:
        """Contrastive texts; :attr:`~craft.data.questions.Lesson.text` is a row of them."""
        ...

    @property
    def contrastive_weight(self) -> float:
        """The paper's weight of the contrastive loss for this kind of data (section 4.1)."""
        ...

    @property
    def fixed_questions(self) -> bool:
        """The questions come with the data: another seed draws no others."""
        ...

    def __len__(self) -> int:
        """How many training examples there are."""
        ...

    def image_of(self, index: int) -> int:
        """Which image of ``train`` training example ``index`` is about."""
        ...

    def lesson(self, index: int, rng: random.Random, naming: float) -> Lesson:
        """Training example ``index``; ``naming`` is the share of open questions, where they are
        made from classes."""
        ...

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """The questions about the images of one part."""
        ...
