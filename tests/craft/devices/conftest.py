"""Models on a separate device, see far_device.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from accelerate import PartialState
from accelerate.state import AcceleratorState

import craft_kernels  # noqa: F401  (its modules are looked up by name below)
from craft.family import family
from craft.runtime import device
from craft.runtime.device import DeviceChoice
from craft.training.distributed import processes
from tests.craft.devices.far_device import FAR, far_device


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make commands run their models on the far device."""
    for module in (device, family, processes):
        monkeypatch.setattr(module, "choose_device", lambda asked=None: DeviceChoice(FAR, "test"))
    quantiser = sys.modules["craft_kernels.residual_quantize.arguments"]
    monkeypatch.setattr(quantiser, "DEVICES", (*quantiser.DEVICES, FAR.type))
    ops = sys.modules["craft_kernels.ops"]
    monkeypatch.setattr(ops, "check_prune_arguments", lambda *_: None)
    # accelerate finds devices by itself; it does not know this one, so it is given our choice.
    PartialState._reset_state()
    AcceleratorState._reset_state()
    PartialState(cpu=True).device = FAR
    with far_device():
        yield
    AcceleratorState._reset_state()
    PartialState._reset_state()
