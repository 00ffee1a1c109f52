"""A clear error for training that diverged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from craft.errors import CraftError
from craft_kernels.residual_quantize.arguments import NotFiniteError


@contextmanager
def divergence(step: int, lr: float) -> Iterator[None]:
    """Blame features that are not finite, in this block, on the learning rate.

    Raises:
        CraftError: the features could not be quantised; advises a lower learning rate.
    """
    try:
        yield
    except NotFiniteError as error:
        raise CraftError(
            f"the encoder's features are no longer finite at step {step}; lower lr (now {lr:g})"
        ) from error
