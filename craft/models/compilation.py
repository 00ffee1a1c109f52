"""Whether torch.compile works on this machine."""

from __future__ import annotations

import torch

from craft.errors import CraftError


def require_compilation(device: torch.device) -> None:
    """Compile a sum, to find out before anything long begins.

    Raises:
        CraftError: that failed: there is no C++ compiler, no Triton for the GPU, or torch.compile
            does not know this Python or this device.
    """
    try:
        found = torch.compile(_sum)(torch.ones(64, device=device))
    except Exception as error:  # of Dynamo, Inductor, a compiler or Triton, each with its own
        told = " ".join(str(error).split())
        raise CraftError(
            f"--compile: torch.compile does not work on {device} here "
            f"({type(error).__name__}: {told:.200}); leave --compile out"
        ) from error
    assert found.item() == 128


def _sum(x: torch.Tensor) -> torch.Tensor:
    return (x + x).sum()
