import math

import pytest

from craft.evaluation.bootstrap import interval


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
def test_without_variation_nothing_is_uncertain(values):
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
