"""The gain of an adaptation on its domain's validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from craft.evaluation.results import Gain


@dataclass(frozen=True)
class ValidationGain:
    """Per cent of right letters on a domain's validation images, before and after adaptation.

    The same images chose the weights, which makes the gain slightly optimistic; they contain no
    held-out class. The interval of ``gain`` is over images, because answers about the same image
    are correlated.
    """

    before: float
    after: float
    gain: Gain
    images: int
    questions: int

    @classmethod
    def of(
        cls, before: Sequence[bool], after: Sequence[bool], images: Sequence[int]
    ) -> ValidationGain:
        """Compute the gain from whether each question was answered right, and its image.

        Raises:
            CraftError: there are no questions.
        """
        gain = Gain.between(before, after, images)
        was, now = (100 * sum(right) / len(right) for right in (before, after))
        return cls(was, now, gain, len(set(images)), len(images))

    def __str__(self) -> str:
        low, high = self.gain.interval
        asked = f"{self.images} images"
        if self.questions != self.images:
            asked += f", {self.questions} questions"
        return (
            f"{self.before:.1f} % right before, {self.after:.1f} % after, {self.gain.all:+.1f} "
            f"points (95 % interval {low:+.1f} to {high:+.1f}, n = {asked})"
        )
