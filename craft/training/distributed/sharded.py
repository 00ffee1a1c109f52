"""Blocks sharded over processes (FSDP2): each keeps a part of weights, gradients and moments.

Copies are sharded. The models that were passed in stay whole and receive the trained weights when
these are needed, so that validating, mixing and saving need not know about shards.
"""

from __future__ import annotations

import copy
import gc
import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from craft.errors import CraftError
from craft.settings.training import HardwareConfig
from craft.training.distributed.optimizer_state import unpack_optimizer
from craft.training.distributed.shards import (
    average_whole,
    clip_gradients,
    gathered,
    gradient_norm,
    shard_like,
)
from craft.training.distributed.strategy import Strategy
from craft.training.trainee import Trainee

log = logging.getLogger(__name__)


def wanted(hardware: HardwareConfig, processes: int) -> bool:
    """Whether the settings, or an accelerate config of type FSDP, ask for sharding.

    Raises:
        CraftError: FSDP 1, offloading, or a precision that sharding does not support.
    """
    launched = parse_flag_from_env("ACCELERATE_USE_FSDP")
    if launched and os.environ.get("FSDP_VERSION", "1") != "2":
        raise CraftError(
            "the accelerate config asks for FSDP 1; write `fsdp_version: 2` under fsdp_config, or "
            "remove FSDP from it and set hardware.shard=true"
        )
    if launched and parse_flag_from_env("FSDP_OFFLOAD_PARAMS"):
        raise CraftError(
            "fsdp_offload_params: true is not supported; remove it (hardware.grad_checkpoint and "
            "more processes also save memory)"
        )
    if not (hardware.shard or launched):
        return False
    if hardware.precision == "fp16":
        raise CraftError(
            "hardware.precision=fp16 needs a loss scale, which is not supported for sharded "
            "gradients; use bf16 or fp32"
        )
    if processes == 1:
        log.info("hardware.shard: there is only one process, so nothing is sharded")
    return processes > 1


class ShardedStrategy(Strategy):
    """FSDP2 on each block of encoder and language model; weights outside blocks stay whole."""

    name = "sharded"

    def place(self) -> None:
        """Shard copies of the models; the surrogate that was passed in stays where it is."""
        device = self.accelerator.device
        self._whole = Trainee(*self.passed).trained()
        codebook = self.passed.tower.codebook
        self.models = models = copy.deepcopy(self.passed, {id(codebook): codebook})
        mesh = init_device_mesh(device.type, (self.accelerator.num_processes,))
        shard_blocks(models.tower.blocks, mesh)
        shard_blocks(models.surrogate.language_model.base_model, mesh)
        for model in models:
            if model is not None:
                model.to(device)

    def wrap(self) -> None:
        self.model, self.optimizer = self.inner, self.accelerator.prepare(self.base)

    @property
    def recomputes(self) -> bool:
        # Autocast would keep a copy of every block's weights for the backward pass.
        return super().recomputes or self.accelerator.mixed_precision == "bf16"

    @contextmanager
    def part(self, last: bool) -> Generator[None]:
        yield  # each part's gradients are reduced into the shards at once

    def finish(self) -> None:
        average_whole(self.trained.values())

    def term_norms(self, terms: Callable[[Any], dict[str, Tensor]]) -> dict[str, float]:
        norms: dict[str, float] = {}
        found = terms(self.model)
        for name in list(found):  # shards get gradients only from a backward pass
            found = found if not norms else terms(self.model)
            found.pop(name).backward()
            found.clear()
            average_whole(self.pretrained)
            norms[name] = float(gradient_norm(self.pretrained))
            self.zero_grad()
        return norms

    def step(self) -> bool:
        clip_gradients(self.trained.values(), self.config.clip)
        self.optimizer.step()
        return True

    def close(self) -> None:
        super().close()
        gc.collect()  # blocks and their shards refer to each other

    def publish(self) -> None:
        for name, parameter in self.trained.items():
            self._whole[name].data.copy_(gathered(parameter))

    def weights(self) -> dict[str, Tensor]:
        self.publish()
        return {name: p.detach() for name, p in self._whole.items()}

    def restore(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(shard_like(weights[name], parameter))
        self.publish()
        unpack_optimizer(self.base, self.trained, moments)


def shard_blocks(stack: nn.Module, mesh: DeviceMesh) -> None:
    """Shard each block in ``stack``, which must be run by calling it; its other weights, such as
    embeddings that are also read elsewhere, stay whole.

    Raises:
        CraftError: there are no blocks.
    """
    blocks = [m for m in stack.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not blocks:
        raise CraftError(
            f"{type(stack).__name__} has no blocks to shard (layers of transformers' "
            "GradientCheckpointingLayer); leave hardware.shard out"
        )
    for block in blocks:
        fully_shard(block, mesh=mesh)
    others = {p for p in stack.parameters() if not isinstance(p, DTensor)}
    fully_shard(stack, mesh=mesh, ignored_params=others)
