"""Labelled images in memory, and the domain they make up."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from craft.data.questions import Question, four_options


@dataclass(frozen=True)
class ImageSet:
    """Images of one area with what is known about each.

    ``images`` is uint8 [n, 3, S, S]; the lists have n entries. ``subject`` is what a question calls
    the things shown ("What {subject} is shown in the image?").
    """

    area: str
    subject: str
    images: Tensor
    ids: list[str]
    labels: list[str]
    groups: list[str]
    styles: list[str]
    splits: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted(set(self.labels))

    def where(self, keep: list[bool]) -> ImageSet:
        """The rows for which ``keep`` is true, in order."""
        rows = [i for i, k in enumerate(keep) if k]

        def pick(column: list[str]) -> list[str]:
            return [column[i] for i in rows]

        return ImageSet(
            self.area,
            self.subject,
            self.images[rows],
            pick(self.ids),
            pick(self.labels),
            pick(self.groups),
            pick(self.styles),
            pick(self.splits),
        )

    def split(self, *names: str) -> ImageSet:
        """The rows of the named splits. Raises ValueError when there are none."""
        subset = self.where([s in names for s in self.splits])
        if not len(subset):
            raise ValueError(
                f"area {self.area!r} has no split named {' or '.join(names)}; "
                f"it has {sorted(set(self.splits))}"
            )
        return subset


@dataclass(frozen=True)
class Domain:
    """Images to adapt to. No class of ``heldout`` is in ``train`` or ``val``."""

    name: str
    subject: str
    classes: list[str]
    heldout: list[str]
    train: ImageSet
    val: ImageSet
    test: ImageSet

    @property
    def seen(self) -> list[str]:
        """The classes that are not held out."""
        heldout = set(self.heldout)
        return [name for name in self.classes if name not in heldout]

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """Four-option questions about test or validation images; distractors from all classes."""
        pool = self.classes if part is self.test else self.seen
        return four_options(
            part.ids, part.labels, self.subject, pool, heldout=self.heldout, seed=seed
        )
