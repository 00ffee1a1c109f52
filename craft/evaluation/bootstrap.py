"""How far a score may be off: percentile bootstrap over questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000


def interval(
    values: Sequence[float],
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The mean's bootstrap interval.

    Questions are drawn with replacement. For the difference of two conditions give one value a
    question, after less before: what makes a question hard for both then cancels.

    Args:
        values: one a question: 0 or 1 for right and wrong, or a difference of two such.
        confidence: in (0, 1).

    Raises:
        ValueError: a confidence outside (0, 1), or no values.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    if not len(values):
        raise ValueError("there are no values: no question was asked")
    # Drawing n questions is drawing how often each of the few distinct values comes.
    distinct, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=draws)
    means = drawn @ distinct / len(values)
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside])
    return float(low), float(high)
