"""Whether two runs trained the same, up to rounding.

The effect of rounding depends on how much sums cancel: a gradient may be the small difference of
large terms. It is therefore measured: the run is repeated with all products rounded again, at
random and by more than a processor would (tests/perturbed_products.py). The change of a weight or
gradient is what rounding may change in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from craft.training.distributed import strategy
from tests.perturbed_products import MARGIN, SEEDS, rounded_otherwise

#: Even without cancellation, a weight or gradient is itself rounded.
_OWN = 2.0**-20


@contextmanager
def smooth_updates() -> Iterator[None]:
    """Make runs use an Adam whose steps are continuous in the gradient.

    Adam divides by the gradient's size. If the gradient is rounding noise, such as that of the
    keys' biases, which cancel in the softmax, its direction would be random.
    """
    original = strategy.make_optimizer

    def make(*parts: Any) -> torch.optim.Optimizer:
        optimizer = original(*parts)
        for group in optimizer.param_groups:
            if "eps" in group:  # SGD has none
                group["eps"] = 1e-3
        return optimizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "make_optimizer", make)
        yield


def rerounded(run: Callable[[Path], object], out: Path) -> list[Path]:
    """Call ``run`` with other rounding, once per seed; returns its directories."""
    directories = [out / f"rerounded-{seed}" for seed in SEEDS]
    for seed, directory in zip(SEEDS, directories, strict=True):
        with rounded_otherwise(seed):
            run(directory)
    return directories


def assert_same(name: str, found: Path, expected: Path, others: Sequence[Path]) -> None:
    """Check that the tensors in the file ``name`` are as expected, up to what rounding changes in
    ``others``."""
    ours, theirs, *again = (load_file(x / name) for x in (found, expected, *others))
    assert_same_tensors(ours, theirs, again)


def assert_same_tensors(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    others: Sequence[Mapping[str, Tensor]],
) -> None:
    """Like :func:`assert_same`, for tensors."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        spread = max(_largest(other[name] - tensor) for other in others)
        allowed = MARGIN * spread + _OWN * _largest(tensor)
        off = _largest(found[name] - tensor)
        assert off <= allowed, f"{name} is off by {off:.2g}; rounding changes {spread:.2g}"


def _largest(tensor: Tensor) -> float:
    return float(tensor.double().abs().max())
