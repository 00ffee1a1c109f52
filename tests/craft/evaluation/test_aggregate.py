"""Means, spreads and differences, also with missing parts."""

from __future__ import annotations

import pytest

from craft.evaluation.aggregate import difference, mean_scores, spread_of

A = {"all": 50.0, "seen": 60.0, "heldout": None, "general": 90.0}
B = {"all": 70.0, "seen": 60.0, "heldout": 10.0, "general": 93.0}


def test_mean_and_sample_spread() -> None:
    assert mean_scores([A, B]) == {"all": 60.0, "seen": 60.0, "heldout": None, "general": 91.5}
    spread = spread_of([A, B])
    assert spread["all"] == pytest.approx(200**0.5)  # (10² + 10²) / (2 - 1)
    assert spread["seen"] == 0
    assert spread["heldout"] is None


def test_one_table_has_no_spread() -> None:
    assert set(spread_of([B]).values()) == {None}


def test_difference_in_points() -> None:
    assert difference(B, A) == {"all": 20.0, "seen": 0.0, "heldout": None, "general": 3.0}
