"""Decides which device models run on, for every command."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import torch
from torch import Tensor

from craft.errors import CraftError

#: The environment variable that decides if no device is named.
VARIABLE = "CRAFT_DEVICE"
_NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class DeviceChoice(NamedTuple):
    """A device, with its index if there may be several, and why it was chosen."""

    device: torch.device
    reason: str


def choose_device(asked: str | None = None) -> DeviceChoice:
    """The device that is asked for, or the one that ``auto`` finds.

    Args:
        asked: "auto", "cpu", "cuda", "cuda:1", ..., or "mps"; None for the value of the
            environment variable ``CRAFT_DEVICE``, else "auto": a CUDA GPU if there is one, else
            the CPU. Under torchrun "auto" and "cuda" are each process's own GPU.

    Raises:
        CraftError: there is no such name, or this machine does not have such a device.
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
    """The tensor on a device; it is pinned on its way to a GPU, so that the host need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def pixels_on(images: Tensor, device: torch.device) -> Tensor:
    """Images as float32 in [0, 1] on a device; bytes are moved as bytes and converted there.

    Args:
        images: [n, 3, S, S], uint8 or float in [0, 1].
    """
    moved = to_device(images, device)
    return moved if moved.is_floating_point() else moved.float() / 255
