"""Retention probes: questions that the pretrained models could answer, to measure forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from craft.data.domains.domain import Domain
from craft.data.questions import QuestionSet, seeded
from craft.evaluation.exam import question_set

#: ``select`` chooses weights during training, ``report`` measures; no image serves both.
Use = Literal["select", "report"]


class RetentionProbe(Protocol):
    """Questions about what the models knew before they were adapted."""

    @property
    def least(self) -> int:
        """The smallest ``count`` that :meth:`questions` accepts."""
        ...

    def questions(self, count: int, size: int, use: Use) -> QuestionSet:
        """At most ``count`` questions about images for encoders of input size ``size``.

        The same arguments give the same questions; those of the two uses are disjoint.
        """
        ...


@dataclass(frozen=True)
class DomainProbe:
    """A user's general data: validation images select, test images report.

    Args:
        domain: the data, read like any other domain.
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
