"""What an encoder should not forget: questions that the pretrained models could answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from craft.data.domains.domain import Domain
from craft.data.questions import QuestionSet, seeded
from craft.evaluation.exam import question_set

#: ``select`` chooses weights while training, ``report`` measures; no image serves both.
Use = Literal["select", "report"]


class RetentionProbe(Protocol):
    """Questions about what the models knew before they were adapted."""

    @property
    def least(self) -> int:
        """The smallest ``count`` that :meth:`questions` can do with."""
        ...

    def questions(self, count: int, size: int, use: Use) -> QuestionSet:
        """At most ``count`` questions about images for encoders of side ``size``; the same ones for
        the same arguments, disjoint ones for the two uses."""
        ...


@dataclass(frozen=True)
class DomainProbe:
    """General data of the user's own: validation images select, test images report.

    Args:
        domain: the data, read as any other domain.
    """

    domain: Domain

    @property
    def least(self) -> int:
        """One."""
        return 1

    def questions(self, count: int, size: int, use: Use) -> QuestionSet:
        """Questions drawn at random, without replacement."""
        part = self.domain.val if use == "select" else self.domain.test
        asked = self.domain.questions(part)
        rows = seeded("retention", use).sample(range(len(asked)), min(count, len(asked)))
        return question_set(part, [asked[row] for row in sorted(rows)])
