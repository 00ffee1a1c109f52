"""Means, spreads and differences of score tables, over seeds and over domains."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

#: Accuracies of one condition, in per cent.
PARTS = ("all", "seen", "heldout", "general")


def mean_scores(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each part over equally weighted tables; None if any table lacks the part."""
    return {part: _over(scores, part, statistics.fmean) for part in PARTS}


def spread_of(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sample standard deviation of each part; None with fewer than two tables."""
    if len(scores) < 2:
        return dict.fromkeys(PARTS)
    return {part: _over(scores, part, statistics.stdev) for part in PARTS}


def difference(after: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Difference ``after`` - ``before`` of each part, in points; None if either is missing."""
    return {
        part: None if None in (after[part], before[part]) else after[part] - before[part]
        for part in PARTS
    }


def _over(scores: Sequence[dict[str, Any]], part: str, statistic: Any) -> float | None:
    values = [table[part] for table in scores]
    return None if None in values or not values else statistic(values)
