"""The optimiser, and its state as named tensors for safetensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from craft.settings.training import CraftConfig
from craft.training.distributed.shards import gathered, shard_like


def make_optimizer(groups: list[dict[str, Any]], config: CraftConfig) -> torch.optim.Optimizer:
    """Make AdamW, or SGD with momentum 0.9; each group has its own learning rate."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def pack_optimizer(
    optimizer: Any, trained: dict[str, nn.Parameter], *, keep: bool = True
) -> dict[str, Tensor]:
    """The whole state as tensors named ``<weight's name>.<what>``.

    Args:
        keep: False returns nothing. If weights are sharded over processes, all of them must call
            this, and one keeps the result.

    Raises:
        TypeError: a state is not a tensor; AdamW and SGD have none such.
    """
    tensors: dict[str, Tensor] = {}
    for weight, parameter in trained.items():
        for what, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise TypeError(f"optimiser state {what!r} of {weight} is not a tensor")
            full = gathered(value)
            if keep:
                tensors[f"{weight}.{what}"] = full.cpu()
    return tensors


def unpack_optimizer(
    optimizer: Any, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Restore the state from :func:`pack_optimizer`; learning rates come from the schedule."""
    names = {id(p): name for name, p in trained.items()}
    groups = optimizer.param_groups
    numbered = enumerate(p for group in groups for p in group["params"])
    numbers = {names[id(p)]: (number, p) for number, p in numbered}
    state: dict[int, dict[str, Tensor]] = {}
    for weight, values in by_weight(tensors).items():
        number, parameter = numbers[weight]
        state[number] = {  # a moment has the weight's shape, the step count is a scalar
            what: shard_like(value, parameter) if value.shape == parameter.shape else value
            for what, value in values.items()
        }
    fresh = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": fresh})


def by_weight(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of :func:`pack_optimizer` as weight's name -> kind of state -> value."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        weight, what = key.rsplit(".", 1)
        found.setdefault(weight, {})[what] = value
    return found
