"""Whether two runs trained the same, but for rounding.

How much rounding may change depends on how much the sums cancel: a gradient may be a small rest of
large terms. So the run itself is asked. It is run again with all its products rounded anew, at
random and by more than a processor would (tests/perturbed_products.py); what that changes in a
weight or gradient is what rounding changes in it.
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

#: A weight or gradient whose sum does not cancel is still rounded itself.
_OWN = 2.0**-20


@contextmanager
def smooth_updates() -> Iterator[None]:
    """Runs use an Adam whose steps are continuous in the gradient.

    Adam divides by the gradient's size; where the gradient is rounding noise, as that of keys'
    biases, which cancel in the softmax, its direction would be a coin toss.
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
    """Directories that ``run`` was given, once for each other way to round."""
    directories = [out / f"rerounded-{seed}" for seed in SEEDS]
    for seed, directory in zip(SEEDS, directories, strict=True):
        with rounded_otherwise(seed):
            run(directory)
    return directories


def assert_same(name: str, found: Path, expected: Path, others: Sequence[Path]) -> None:
    """Tensors in the file of this name in each directory are the expected ones, but for what
    rounding changes in ``others``."""
    ours, theirs, *again = (load_file(x / name) for x in (found, expected, *others))
    assert_same_tensors(ours, theirs, again)


def assert_same_tensors(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    others: Sequence[Mapping[str, Tensor]],
) -> None:
    """As :func:`assert_same`."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        spread = max(_largest(other[name] - tensor) for other in others)
        allowed = MARGIN * spread + _OWN * _largest(tensor)
        off = _largest(found[name] - tensor)
        assert off <= allowed, f"{name} is off by {off:.2g}; rounding changes {spread:.2g}"


def _largest(tensor: Tensor) -> float:
    return float(tensor.double().abs().max())
