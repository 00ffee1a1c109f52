"""Confidence intervals of scores: percentile bootstrap over questions, and over seeds too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from craft.errors import CraftError

DRAWS = 10_000


def interval(
    values: Sequence[float],
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The bootstrap interval of the mean.

    Questions are drawn with replacement. For the difference of two conditions, pass one value per
    question, after minus before: a question's difficulty, common to both, then cancels.

    Args:
        values: one per question: 1 for right and 0 for wrong, or a difference of two such values.
        confidence: in (0, 1).

    Raises:
        CraftError: the confidence is outside (0, 1), or there are no values.
    """
    _require(confidence, len(values))
    # Drawing n questions is the same as drawing how often each of the few distinct values occurs.
    distinct, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=draws)
    means = drawn @ distinct / len(values)
    return _middle(means, confidence)


def interval_over_seeds(
    tables: Sequence[NDArray[np.floating]],  # one [S, Q] per domain
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of the average over domains, each the mean over its seeds and questions.

    Both are drawn with replacement, separately in every domain, because another run would have
    other seeds and other questions. With S = 1 only the questions vary.

    Args:
        tables: one row per seed, one column per question; both numbers may differ among domains.

    Raises:
        CraftError: the confidence is outside (0, 1), there is no domain, or one has no seeds or
            questions.
    """
    _require(confidence, min((table.size for table in tables), default=0))
    total = np.zeros(draws)
    for number, table in enumerate(tables):
        rows, columns = _drawn(*table.shape, draws, (seed, number))
        total += ((rows @ table.astype(np.float32)) * columns).sum(1) / table.size
    return _middle(total / len(tables), confidence)


@lru_cache(maxsize=16)
def _drawn(
    seeds: int, questions: int, draws: int, seed: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # [draws, S], [draws, Q]
    """How often each seed and question is drawn; cached, as drawing takes longer than using it."""
    generator = np.random.default_rng(seed)
    rows = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)
    columns = generator.multinomial(questions, np.full(questions, 1 / questions), size=draws)
    return rows.astype(np.float32), columns.astype(np.float32)


def _require(confidence: float, count: int) -> None:
    if not 0 < confidence < 1:
        raise CraftError(f"confidence must be in (0, 1), got {confidence}")
    if not count:
        raise CraftError("there are no values, because no question was asked")


def _middle(means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside])
    return float(low), float(high)
