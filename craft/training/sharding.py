"""Blocks shared out over processes (FSDP2): each keeps a part of weights, gradients and moments.

What is shared out are copies. The models that were passed in stay whole, and are given the trained
weights when they are asked for; so validating, mixing and saving know nothing of parts.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.training.config import HardwareConfig
from craft.training.objective import ContrastiveHead

log = logging.getLogger(__name__)


class Models(NamedTuple):
    """What a step runs through."""

    tower: DiscreteVisionTower
    surrogate: AlignedLanguageModel
    head: ContrastiveHead | None


def wanted(hardware: HardwareConfig, processes: int) -> bool:
    """Whether the settings, or an accelerate config of type FSDP, ask for sharding.

    Raises:
        ValueError: FSDP 1, offloading, or a precision that sharding does not have.
    """
    launched = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true")
    if launched and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ValueError(
            "the accelerate config asks for FSDP 1; write `fsdp_version: 2` under fsdp_config, or "
            "leave FSDP out of it and set hardware.shard=true"
        )
    if launched and os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() in ("1", "true"):
        raise ValueError(
            "fsdp_offload_params: true is not supported; leave it out (hardware.grad_checkpoint "
            "and more processes save memory too)"
        )
    if not (hardware.shard or launched):
        return False
    if hardware.precision == "fp16":
        raise ValueError(
            "hardware.precision=fp16 needs a loss scale, which sharded gradients do not have here; "
            "use bf16 or fp32"
        )
    if processes == 1:
        log.info("hardware.shard: there is one process, so nothing is shared out")
    return processes > 1


def shared_out(models: Models, accelerator: Accelerator) -> Models:
    """Copies on the accelerator's device whose blocks are sharded; the rest of them is whole."""
    codebook = models.tower.codebook
    models = copy.deepcopy(models, {id(codebook): codebook})
    device = accelerator.device
    mesh = init_device_mesh(device.type, (accelerator.num_processes,))
    _shard(models.tower.blocks, mesh)
    _shard(models.surrogate.language_model.base_model, mesh)
    for model in models:
        if model is not None:
            model.to(device)
    return models


def _shard(stack: nn.Module, mesh: DeviceMesh) -> None:
    """Share out each block in ``stack``, which must be run by calling it; its other weights, such
    as embeddings that are also read elsewhere, stay whole."""
    blocks = [m for m in stack.modules() if isinstance(m, GradientCheckpointingLayer)]
    for block in blocks:
        numbers = {p for p in block.parameters() if p.dim() == 0}  # cannot be cut
        fully_shard(block, mesh=mesh, ignored_params=numbers)
    others = {p for p in stack.parameters() if not isinstance(p, DTensor)}
    fully_shard(stack, mesh=mesh, ignored_params=others)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, without gradient; where it is shared out, every process must ask."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, without gradient, in the same memory."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def like(tensor: Tensor, shared: Tensor) -> Tensor:
    """A whole tensor, shared out as another one is; no process asks another."""
    if not isinstance(shared, DTensor):
        return tensor
    mine = tensor.to(local(shared).device)
    return distribute_tensor(mine, shared.device_mesh, shared.placements, src_data_rank=None)


def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """Average over processes the gradients that FSDP does not: those of weights that are whole."""
    for p in parameters:
        if p.grad is not None and not isinstance(p.grad, DTensor):
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:  # []
    """Euclidean norm of all gradients together, the same on every process."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    shared = [local(g) for g in gradients if isinstance(g, DTensor)]
    replicated = [g for g in gradients if not isinstance(g, DTensor)]
    square: Any = torch.nn.utils.get_total_norm(shared).square()
    dist.all_reduce(square)
    return (square + torch.nn.utils.get_total_norm(replicated).to(square) ** 2).sqrt()


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """``torch.nn.utils.clip_grad_norm_`` for gradients of which some are shared out."""
    parameters = list(parameters)
    factor = (limit / (gradient_norm(parameters) + 1e-6)).clamp(max=1.0)
    for p in parameters:
        if p.grad is not None:
            local(p.grad).mul_(factor)


def largest(values: Tensor) -> Tensor:
    """Elementwise maximum over processes, if there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values
