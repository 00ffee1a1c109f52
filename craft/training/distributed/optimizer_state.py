"""An optimiser, and its state as tensors with names, for safetensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from craft.settings.training import CraftConfig
from craft.training.distributed.shards import gathered, shard_like


def make_optimizer(groups: list[dict[str, Any]], config: CraftConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9; the groups have learning rates of their own."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def pack_optimizer(
    optimizer: Any, trained: dict[str, nn.Parameter], *, keep: bool = True
) -> dict[str, Tensor]:
    """The whole state as tensors named ``<weight's name>.<what>``.

    Args:
        keep: False returns nothing; where weights are shared out over processes, all must take
            part, and one keeps the result.

    Raises:
        TypeError: a state that is no tensor, which AdamW and SGD have none of.
    """
    tensors: dict[str, Tensor] = {}
    for weight, parameter in trained.items():
        for what, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise TypeError(f"optimiser state {what!r} of {weight} is no tensor")
            full = gathered(value)
            if keep:
                tensors[f"{weight}.{what}"] = full.cpu()
    return tensors


def unpack_optimizer(
    optimizer: Any, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Put back what :func:`pack_optimizer` took out; learning rates are the schedule's."""
    names = {id(p): name for name, p in trained.items()}
    groups = optimizer.param_groups
    numbered = enumerate(p for group in groups for p in group["params"])
    numbers = {names[id(p)]: (number, p) for number, p in numbered}
    state: dict[int, dict[str, Tensor]] = {}
    for weight, values in by_weight(tensors).items():
        number, parameter = numbers[weight]
        state[number] = {  # a moment has the weight's shape, the count of steps has none
            what: shard_like(value, parameter) if value.shape == parameter.shape else value
            for what, value in values.items()
        }
    fresh = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": fresh})


def by_weight(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What :func:`pack_optimizer` took out, as weight's name -> what -> value."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        weight, what = key.rsplit(".", 1)
        found.setdefault(weight, {})[what] = value
    return found
