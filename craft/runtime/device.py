"""Choice of the device that models run on, shared by every command."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import torch
from torch import Tensor

from craft.errors import CraftError

#: The environment variable that applies when no device is named.
VARIABLE = "CRAFT_DEVICE"
_NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class DeviceChoice(NamedTuple):
    """A device, with its index where there can be several, and why it was chosen."""

    device: torch.device
    reason: str


def choose_device(asked: str | None = None) -> DeviceChoice:
    """Return the requested device, or the one that ``auto`` selects.

    Args:
        asked: "auto", "cpu", "cuda", "cuda:1", ..., or "mps". None takes the value of the
            environment variable ``CRAFT_DEVICE``, and "auto" if that is not set. "auto" is a CUDA
            GPU if there is one, otherwise the CPU. Under torchrun, "auto" and "cuda" mean each
            process's own GPU.

    Raises:
        CraftError: the name is unknown, or this machine has no such device.
    """
    source = "--device" if asked is not None else VARIABLE
    name = asked if asked is not None else os.environ.get(VARIABLE) or "auto"
    if not _NAMES.fullmatch(name):
        raise CraftError(
            f"{source} must be auto, cpu, cuda, cuda:1 (any number) or mps, got {name!r}"
        )
    if name == "auto":
        return _automatic()
    if name == "mps" and not torch.backends.mps.is_available():
        raise CraftError(f"{source} {name}: this machine has no such device; use auto or cpu")
    if name.startswith("cuda"):
        return DeviceChoice(_cuda(name, source), f"{source} names it")
    return DeviceChoice(torch.device(name), f"{source} names it")


def _automatic() -> DeviceChoice:
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return DeviceChoice(torch.device("cpu"), "ACCELERATE_USE_CPU is set")
    if torch.cuda.is_available():
        return DeviceChoice(_cuda("cuda", "auto"), "auto: there is a GPU")
    if torch.backends.mps.is_available():
        why = "auto: no CUDA GPU; mps, for which we have no kernels, is used only if named"
        return DeviceChoice(torch.device("cpu"), why)
    return DeviceChoice(torch.device("cpu"), "auto: torch finds no GPU")


def _cuda(name: str, source: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    default = int(os.environ.get("LOCAL_RANK", "0"))
    index = int(name.partition(":")[2] or default)
    if index >= count:
        has = "no CUDA GPU" if not count else f"{count}, cuda:0 to cuda:{count - 1}"
        raise CraftError(f"{source} {name}: this machine has {has}; use auto or cpu")
    return torch.device("cuda", index)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device, through pinned memory for a GPU so that the host need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def pixels_on(images: Tensor, device: torch.device) -> Tensor:
    """Move images to a device as floats in [0, 1]; bytes are converted to float32 after the move.

    Args:
        images: [n, 3, S, S], uint8 or float in [0, 1].
    """
    moved = to_device(images, device)
    return moved if moved.is_floating_point() else moved.float() / 255
