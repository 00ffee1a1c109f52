"""An endless sequence of batches of a domain, independent of the number of processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from craft.data.domains.domain import Domain
from craft.data.images.augment import Augmentation
from craft.data.questions import Lesson, seeded
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.text_batch import TextBatch
from craft.runtime.device import pixels_on
from craft.settings.training import CraftConfig

#: Mild, because training should keep the domain's own look.
AUGMENTATION = Augmentation(scale=(0.85, 1.15), blur=0.1)


class DataState(NamedTuple):
    """The position in an endless sequence of batches, as tensors and JSON."""

    generator: Tensor  # uint8
    rng: list[Any]
    queue: list[int]


class DomainBatches:
    """Shuffled batches of a domain's training images with questions about them.

    Every process draws the lessons of the whole step and the random numbers of all its images, then
    works on its own part. A step is therefore the same for any number of processes, and each
    process knows all contrastive texts without communication.
    """

    def __init__(self, domain: Domain, size: int, config: CraftConfig):
        self.domain = domain
        self.size = size
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        self.rng = seeded("adapt", config.seed)
        self._queue: list[int] = []

    def lessons(self) -> list[Lesson]:
        """The next batch from an endless sequence of shuffled passes over the training examples."""
        while len(self._queue) < self.config.batch:
            order = torch.randperm(len(self.domain), generator=self.generator)
            self._queue += order.tolist()
        rows, self._queue = self._queue[: self.config.batch], self._queue[self.config.batch :]
        return [self.domain.lesson(row, self.rng, self.config.naming) for row in rows]

    def images(
        self,
        lessons: list[Lesson],
        part: slice = slice(None),
        device: torch.device | None = None,
    ) -> Tensor:  # [b, 3, S, S] in [0, 1]
        """Augmented images of a part of the step, the same as in the whole step.

        They are augmented on ``device``, by default the CPU, while those of the next step are read.

        Raises:
            DataError: an image is missing or corrupt.
        """
        store = self.domain.train.images
        found = store.pixels([lesson.row for lesson in lessons[part]])
        upcoming = self._queue[: len(lessons)]  # except those of a pass not shuffled yet
        store.expect([self.domain.image_of(example) for example in upcoming[part]])
        images = pixels_on(found, device or torch.device("cpu"))
        return AUGMENTATION(images, self.size, self.generator, part, len(lessons))

    @staticmethod
    def text(lessons: list[Lesson], language_model: AlignedLanguageModel) -> TextBatch:
        """Prompts and answers as the language model's tokens."""
        return language_model.training_batch(
            [x.prompt for x in lessons], [x.answer for x in lessons]
        )

    def state(self) -> DataState:
        """What :meth:`restore` needs to continue from here."""
        version, numbers, gauss = self.rng.getstate()
        return DataState(
            self.generator.get_state(), [version, list(numbers), gauss], list(self._queue)
        )

    def restore(self, state: DataState) -> None:
        """Continue from where :meth:`state` was taken."""
        version, numbers, gauss = state.rng
        self.generator.set_state(state.generator)
        self.rng.setstate((version, tuple(numbers), gauss))
        self._queue = list(state.queue)
