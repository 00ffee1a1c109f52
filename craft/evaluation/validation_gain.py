"""What a domain's validation images say about an adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from craft.evaluation.results import Gain


@dataclass(frozen=True)
class ValidationGain:
    """Per cent of right letters on a domain's validation images, before and after.

    The images also chose the weights, which flatters the gain a little; they hold no held-out
    class. ``gain`` has its interval over images: answers about one image are alike.
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
        """Of questions in the same order: whether each was answered right, and its image.

        Raises:
            CraftError: no questions.
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
