import math

import numpy as np
import pytest

from craft.evaluation.bootstrap import interval, interval_over_seeds


def test_agrees_with_the_normal_approximation():
    values = [1.0] * 300 + [0.0] * 700
    low, high = interval(values)
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - spread, abs=0.003)
    assert high == pytest.approx(0.3 + spread, abs=0.003)


def test_differences_of_pairs():
    low, high = interval([1.0] * 30 + [0.0] * 960 + [-1.0] * 10)
    assert 0 < low < 0.02 < high


@pytest.mark.parametrize("values", [[1.0], [0.0] * 5])
def test_without_variation_the_interval_is_a_point(values):
    assert interval(values) == (values[0], values[0])


def test_nothing_asked():
    with pytest.raises(ValueError, match="no question was asked"):
        interval([])


def test_the_same_seed_gives_the_same_interval():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert interval(values, seed=3) == interval(values, seed=3)


def test_more_confidence_is_wider():
    values = [0.0, 1.0] * 50
    narrow, wide = interval(values, 0.5), interval(values, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("confidence", [0, 1, 1.5])
def test_confidence_is_checked(confidence):
    with pytest.raises(ValueError, match="confidence must be in"):
        interval([1.0], confidence)


def test_seeds_and_questions_are_both_drawn():
    """Compared with drawing rows and columns and averaging, 4000 times."""
    generator = np.random.default_rng(5)
    tables = [100.0 * (generator.random((3, 40)) < 0.6), 100.0 * (generator.random((2, 25)) < 0.3)]
    tables[0][1] += 15  # a seed that is better at everything
    means = []
    for _ in range(4000):
        parts = []
        for table in tables:
            rows = generator.integers(0, len(table), len(table))
            columns = generator.integers(0, table.shape[1], table.shape[1])
            parts.append(table[rows][:, columns].mean())
        means.append(np.mean(parts))
    expected = np.quantile(means, [0.025, 0.975])
    assert interval_over_seeds(tables) == pytest.approx(expected, abs=0.8)
    # Without spread the interval is a point, and with one seed only the questions vary.
    assert interval_over_seeds([np.full((3, 10), 50.0)]) == (50, 50)
    one = 100.0 * (generator.random((1, 60)) < 0.5)
    assert interval_over_seeds([one]) == pytest.approx(interval(one[0]), abs=1.5)


def test_an_interval_over_nothing_is_refused():
    for tables in ([], [np.zeros((3, 0))]):
        with pytest.raises(ValueError, match="no question was asked"):
            interval_over_seeds(tables)
