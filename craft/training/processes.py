"""One process or several: accelerate's view of the machine, and what of it we support."""

from __future__ import annotations

import os
from typing import Literal

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment

from craft.training.config import CraftConfig

_SUPPORTED = {
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
}


def make_accelerator(config: CraftConfig, project_dir: str | None = None) -> Accelerator:
    """Accelerate as its environment (torchrun, `accelerate launch`) and the settings want it.

    Raises:
        ValueError: a kind of sharding that is not supported, or a batch that cannot be shared out
            evenly over processes and their parts.
    """
    # Said here, because accelerate alone overlooks processes without GPUs.
    cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU") in ("1", "true")
    state = PartialState(cpu=cpu)
    if state.distributed_type not in _SUPPORTED:
        raise ValueError(
            f"{state.distributed_type.value} is not supported: the encoder is small and trains "
            "under DDP; start with torchrun, or with an accelerate config of type MULTI_GPU"
        )
    parts = state.num_processes * config.hardware.accumulate
    if config.batch % parts:
        raise ValueError(
            f"batch={config.batch} cannot be shared out over {state.num_processes} processes with "
            f"hardware.accumulate={config.hardware.accumulate}; make it a multiple of {parts}"
        )
    # A second run in one process may want another precision than the first.
    AcceleratorState._reset_state()
    # Sharding is ours, on CPUs too, where accelerate has none: it sees plain processes.
    with patch_environment(ACCELERATE_USE_FSDP="false"):
        return Accelerator(
            cpu=cpu,
            mixed_precision=_precision(config, "cpu" if cpu else "cuda"),
            log_with=list(config.log.trackers) or None,
            project_dir=project_dir,
        )


def _precision(config: CraftConfig, device: str) -> Literal["no", "bf16", "fp16"]:
    wanted = config.hardware.precision
    if wanted == "auto":
        return "bf16" if device == "cuda" else "no"
    return "no" if wanted == "fp32" else wanted
