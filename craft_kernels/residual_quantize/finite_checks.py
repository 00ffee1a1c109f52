"""When a GPU's tokens are checked for NaN and infinity: at the end of each call, or of a block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

from craft_kernels.residual_quantize.arguments import raise_not_finite

_of_thread = threading.local()


class FiniteChecks:
    """The checks that a block has deferred; see `deferred_finite_checks`."""

    def __init__(self) -> None:
        self._pending: list[tuple[Tensor, Tensor]] = []  # z and whether its residuals are finite

    def check(self) -> None:
        """Make the deferred checks now, waiting once for each device involved.

        Raises:
            NotFiniteError: some z was not finite, or overflowed; the first call's is described.
        """
        pending, self._pending = self._pending, []
        by_device: dict[torch.device, list[Tensor]] = {}
        for _, finite in pending:
            by_device.setdefault(finite.device, []).append(finite)
        if all(torch.stack(there).all() for there in by_device.values()):
            return
        for z, finite in pending:
            if not finite:
                raise_not_finite(z)

    def _defer(self, z: Tensor, finite: Tensor) -> None:
        self._pending.append((z, finite))


@contextlib.contextmanager
def deferred_finite_checks() -> Iterator[FiniteChecks]:
    """Check at the end of the block whether the tokens quantised in it are finite.

    Outside such a block every `residual_quantize` of GPU tensors waits for the GPU, to raise
    NotFiniteError before it returns. Within it the calls of this thread do not wait; the block does
    so a single time, at its end or when its `check` is called. Until then the codes of tokens that
    are not finite are arbitrary, and only their squared norms show it, so nothing that depends on
    them may be kept before the check. Each z is kept alive, and must not be changed, until then.

    Blocks may be nested; each checks its own calls. If the block itself raises, nothing is checked.
    On the CPU, where there is nothing to wait for, and with impl="reference", calls raise at once.

    Raises:
        NotFiniteError: at the end, for the first call whose z was not finite.
    """
    checks = FiniteChecks()
    outer = getattr(_of_thread, "checks", None)
    _of_thread.checks = checks
    try:
        yield checks
    finally:
        _of_thread.checks = outer
    checks.check()


def check_finite(
    z: Tensor,  # [..., D], as the caller passed it
    residual: Tensor,  # [N, D] after the last level, where NaN and infinity persist
) -> None:
    """Raise NotFiniteError if a residual is not finite, or leave that to the enclosing block."""
    finite = torch.isfinite(residual).all()
    checks: FiniteChecks | None = getattr(_of_thread, "checks", None)
    if checks is not None:
        checks._defer(z, finite)
    elif not finite:
        raise_not_finite(z)
