"""Training that went astray, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from craft.errors import CraftError
from craft_kernels.residual_quantize.arguments import NotFiniteError


@contextmanager
def divergence(step: int, lr: float) -> Iterator[None]:
    """Around work with weights that train: features that are not finite are their fault.

    Raises:
        CraftError: the features could not be quantised; advises another learning rate.
    """
    try:
        yield
    except NotFiniteError as error:
        raise CraftError(
            f"the encoder's features are no longer finite at step {step}; lower lr (now {lr:g})"
        ) from error
