"""Labelled images, read on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from craft.data.images.store import ImageStore
from craft.errors import CraftError

T = TypeVar("T")


@dataclass(frozen=True)
class ImageSet:
    """Images of one area, with labels and other data about each.

    ``images`` and each list have n entries. ``subject`` is what questions call the objects shown
    ("What {subject} is shown in the image?"). ``captions`` are free texts about each image; the
    list is empty if there are none.
    """

    area: str
    subject: str
    images: ImageStore
    ids: list[str]
    labels: list[str]
    groups: list[str]
    styles: list[str]
    splits: list[str]
    captions: list[tuple[str, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted(set(self.labels))

    def where(self, keep: list[bool]) -> ImageSet:
        """Select the rows for which ``keep`` is true, in order."""
        rows = [i for i, k in enumerate(keep) if k]

        def pick(column: list[T]) -> list[T]:
            return [column[i] for i in rows]

        return ImageSet(
            self.area,
            self.subject,
            self.images.take(rows),
            pick(self.ids),
            pick(self.labels),
            pick(self.groups),
            pick(self.styles),
            pick(self.splits),
            pick(self.captions) if self.captions else [],
        )

    def split(self, *names: str) -> ImageSet:
        """Select the rows of the named splits.

        Raises:
            CraftError: there are none.
        """
        subset = self.where([s in names for s in self.splits])
        if not len(subset):
            raise CraftError(
                f"area {self.area!r} has no split named {' or '.join(names)}; "
                f"it has {sorted(set(self.splits))}"
            )
        return subset
