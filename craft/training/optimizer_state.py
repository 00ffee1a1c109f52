"""An optimiser's state as tensors with names and JSON, for safetensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pack_optimizer(optimizer: Any) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Tensors named ``<parameter's number>.<what>``, and the groups without their parameters.

    Raises:
        TypeError: a state that is no tensor, which AdamW has none of.
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
        {**old, **new, "betas": tuple(new["betas"])} for old, new in zip(fresh, groups, strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
