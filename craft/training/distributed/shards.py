"""Operations on tensors of which some are sharded over processes and others replicated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def gathered(tensor: Tensor) -> Tensor:
    """The whole tensor, without gradient; if it is sharded, every process must call this."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def local_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, without gradient, sharing its memory."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def shard_like(tensor: Tensor, shared: Tensor) -> Tensor:
    """Shard a whole tensor like another one, without communication."""
    if not isinstance(shared, DTensor):
        return tensor
    mine = tensor.to(local_part(shared).device)
    return distribute_tensor(mine, shared.device_mesh, shared.placements, src_data_rank=None)


def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of replicated weights over processes, which FSDP does not do."""
    for p in parameters:
        if p.grad is not None and not isinstance(p.grad, DTensor):
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:  # []
    """Euclidean norm of all gradients together, the same on every process."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    shared = [local_part(g) for g in gradients if isinstance(g, DTensor)]
    replicated = [g for g in gradients if not isinstance(g, DTensor)]
    # Without gradients the norm is on the CPU, where processes on GPUs cannot reduce it.
    parts: Any = [
        torch.nn.utils.get_total_norm(part).to(gradients[0].device).square()
        for part in (shared, replicated)
    ]
    dist.all_reduce(parts[0])
    return (parts[0] + parts[1]).sqrt()


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """``torch.nn.utils.clip_grad_norm_`` for gradients of which some are sharded."""
    parameters = list(parameters)
    factor = (limit / (gradient_norm(parameters) + 1e-6)).clamp(max=1.0)
    for p in parameters:
        if p.grad is not None:
            local_part(p.grad).mul_(factor)


def max_over_processes(values: Tensor) -> Tensor:
    """Elementwise maximum over processes, if there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values
