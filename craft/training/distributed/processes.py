"""One process or several: accelerate's view of the machine, and the part of it we support."""

from __future__ import annotations

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment

from craft.errors import CraftError
from craft.runtime.device import choose_device
from craft.runtime.processes import accelerate_state
from craft.settings.training import CraftConfig
from craft.training.distributed import sharded, zero
from craft.training.distributed.strategy import Strategy

_SUPPORTED = {
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.DEEPSPEED,
}


def make_accelerator(config: CraftConfig, device: torch.device | None = None) -> Accelerator:
    """Make an Accelerator as its environment (torchrun, `accelerate launch`) and the settings ask.

    Args:
        device: by default that of :func:`~craft.runtime.device.choose_device`.

    Raises:
        CraftError: the kind of sharding is not supported, or the batch cannot be split evenly over
            processes and accumulation steps.
    """
    deepspeed = zero.launched()
    device = choose_device().device if device is None else device
    cpu = device.type == "cpu"
    state = accelerate_state(device)
    if state.distributed_type not in _SUPPORTED:
        raise CraftError(
            f"{state.distributed_type.value} is not supported; start with torchrun, or with an "
            "accelerate config of type MULTI_GPU, FSDP (fsdp_version 2) or DEEPSPEED"
        )
    parts = state.num_processes * config.hardware.accumulate
    if config.batch % parts:
        raise CraftError(
            f"batch={config.batch} cannot be split evenly over {state.num_processes} processes "
            f"with hardware.accumulate={config.hardware.accumulate}; make it a multiple of {parts}"
        )
    # A second run in one process may need another precision than the first.
    AcceleratorState._reset_state()
    plugin = zero.plugin(config, state.num_processes) if deepspeed else None
    precision = config.hardware.products_on(device.type)
    # We do FSDP ourselves, also on CPUs, where accelerate has none: it sees plain processes.
    with patch_environment(ACCELERATE_USE_FSDP="false"):
        return Accelerator(
            cpu=cpu and not deepspeed,  # with cpu=True accelerate overlooks DeepSpeed
            deepspeed_plugin=plugin,
            mixed_precision="no" if deepspeed else precision,
        )


def choose_strategy(config: CraftConfig, accelerator: Accelerator) -> type[Strategy]:
    """Choose how processes share a step, from the settings or the accelerate config that started
    them.

    Raises:
        CraftError: the kind of sharding is not supported.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return zero.ZeroStrategy
    if sharded.wanted(config.hardware, accelerator.num_processes):
        return sharded.ShardedStrategy
    return Strategy
