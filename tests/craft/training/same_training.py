"""Whether two runs trained the same, but for rounding."""

from __future__ import annotations

import torch
from torch import Tensor

#: Where a tower's weights are listed without it, gradients have this before their names.
_ENCODER = "encoder."


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To float32 rounding."""
    assert found.keys() == expected.keys()
    largest = _largest(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=lambda m, n=name: n + m
        )


def assert_same_weights(
    found: dict[str, Tensor], expected: dict[str, Tensor], gradients: dict[str, Tensor]
) -> None:
    """To float32 rounding. Adam divides by the gradient's size, so where the gradient is rounding
    noise the update is a coin toss: keys' biases, which cancel in the softmax, and single weights
    with a gradient a millionth of the largest.

    Args:
        gradients: of the expected run's first step.
    """
    assert found.keys() == expected.keys()
    largest = _largest(gradients)
    for name, weight in expected.items():
        if name.endswith("k_proj.bias"):
            continue
        difference = (found[name] - weight).abs()
        gradient = gradients.get(_ENCODER + name, gradients.get(name))
        if gradient is not None:
            difference = difference.masked_fill(gradient.abs() < 1e-5 * largest, 0)
        assert float(difference.max()) < 2e-6, name


def _largest(gradients: dict[str, Tensor]) -> float:
    return max(float(g.abs().max()) for g in gradients.values())
