"""What Triton compiles for on this machine: a GPU, or its interpreter on the CPU."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor


def interpreting() -> bool:
    """Whether TRITON_INTERPRET was set when Triton was imported."""
    from triton import knobs

    return bool(knobs.runtime.interpret)


def _driver() -> Any:
    from triton.runtime import driver

    return driver.active


@functools.cache
def _target(device: int) -> tuple[str, object]:
    target: Any = _driver().get_current_target()
    return target.backend, target.arch


def current_target() -> tuple[str, object]:
    """("cuda", 90), ("hip", "gfx942"), or ("interpreter", 0)."""
    if interpreting():
        return "interpreter", 0
    return _target(_driver().get_current_device())


def architecture(device: torch.device) -> str:
    """The vendor's name for a GPU's architecture, such as sm_90 or gfx942."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return f"no GPU for {device} on this machine"
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return properties.gcnArchName.split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def capturing(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being captured, during which nothing may wait for the GPU."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Make the tensor's GPU the current one, on which Triton launches; do nothing on the CPU."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def ceil_div(x: int, y: int) -> int:
    return -(-x // y)


def next_power_of_2(x: int) -> int:
    """The least power of two that is >= x, for x >= 1: sides of blocks must be powers of two."""
    return 1 << (x - 1).bit_length()
