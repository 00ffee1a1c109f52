"""An optimiser, and its state as tensors with names and JSON, for safetensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from craft.training.config import CraftConfig


def make_optimizer(groups: list[dict[str, Any]], config: CraftConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9; the groups have learning rates of their own."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def pack_optimizer(optimizer: Any) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Tensors named ``<parameter's number>.<what>``, and the groups without their parameters.

    Raises:
        TypeError: a state that is no tensor, which AdamW and SGD have none of.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    for number, values in state["state"].items():
        for name, value in values.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"optimiser state {name!r} of parameter {number} is no tensor")
            tensors[f"{number}.{name}"] = value
    return tensors, [
        {key: value for key, value in group.items() if key != "params"}
        for group in state["param_groups"]
    ]


def unpack_optimizer(
    optimizer: Any, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """Put back what :func:`pack_optimizer` took out."""
    fresh = optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, what = name.split(".", 1)
        state.setdefault(int(number), {})[what] = torch.as_tensor(value)
    merged = [
        {**old, **{k: tuple(v) if k == "betas" else v for k, v in new.items()}}
        for old, new in zip(fresh, groups, strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
