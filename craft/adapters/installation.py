"""Install HeBA adapters in a transformers tower and remove them, without changing its class.

The tower must have CLIP's or SigLIP's structure: a list of blocks with ``layer_norm1``,
``self_attn``, ``layer_norm2`` and ``mlp.fc1``, preceded by ``embeddings``. The adapters become part
of the tower (its ``parameters``, ``state_dict``, ``to`` and ``deepcopy`` include them) and work
through forward hooks, so attention kernels, gradient checkpointing and output capture are
unaffected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from craft.adapters.heba import Adapter
from craft.errors import CraftError
from craft.settings.heba import HebaConfig, Site

#: Name of the adapters in each block, and thus in the names of their weights.
ATTRIBUTE = "heba"


class BlockAdapters(nn.Module):
    """The adapters of one block; they share ``fast``, which is drawn per forward pass."""

    def __init__(self, adapters: dict[Site, Adapter]):
        super().__init__()
        self.sites = nn.ModuleDict(cast(Any, adapters))
        self.fast = False
        self.hooks: list[Any] = []

    def hook_to(self, modules: dict[Site, nn.Module]) -> None:
        """Register hooks that adapt the outputs of these modules."""
        for site in self.sites:
            adapt = getattr(self, f"_{site}")
            self.hooks.append(modules[cast(Site, site)].register_forward_hook(adapt))

    # Bound methods, so that a deep copy of the tower gets hooks bound to its own adapters.
    def _attn_in(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return self.sites["attn_in"](output, self.fast)

    def _ffn_hidden(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return self.sites["ffn_hidden"](output, self.fast)


class SlowFastDraw:
    """Draws which blocks use the larger scale, once per forward pass of the tower in training.

    The draw happens outside the blocks, so that a block that is recomputed in the backward pass, or
    computed twice in one forward pass, keeps it. The numbers come from torch's CPU generator.
    """

    def __init__(self, blocks: list[BlockAdapters], probability: float):
        self.blocks = blocks
        self.probability = probability

    def draw(self, module: nn.Module, _inputs: Any) -> None:
        drawn = [False] * len(self.blocks)
        if module.training and self.probability > 0:
            drawn = (torch.rand(len(self.blocks)) < self.probability).tolist()
        for block, fast in zip(self.blocks, drawn, strict=True):
            block.fast = fast


def install_heba(
    tower: nn.Module,
    config: HebaConfig,
    *,
    grid: tuple[int, int] | None = None,
    blocks: Sequence[int] | None = None,
    prefix_tokens: int = 1,
) -> dict[str, nn.Parameter]:
    """Install adapters in a tower's blocks; nothing else changes, including what trains.

    Args:
        tower: a SigLIP or CLIP vision or text model of transformers, or this package's tower.
        grid: rows and columns of patches of a vision tower; None for a text tower.
        blocks: which get adapters, counted from 0; all by default. Leave out those whose output is
            not used.
        prefix_tokens: most tokens that may precede the patches, such as CLIP's class token.

    Returns:
        The adapters' weights by their names in the tower.

    Raises:
        CraftError: the tower has another structure, no such block, or adapters already.
    """
    places = _blocks(tower)
    if has_heba(tower):
        raise CraftError("this tower already has adapters; remove them with remove_heba first")
    chosen = range(len(places)) if blocks is None else blocks
    wrong = [i for i in chosen if not 0 <= i < len(places)]
    if wrong or not len(chosen):
        raise CraftError(f"blocks must be some of 0 to {len(places) - 1}, got {list(chosen)}")
    put: list[BlockAdapters] = []
    for block in (places[i] for i in chosen):
        modules: dict[Site, Any] = {"attn_in": block.layer_norm1, "ffn_hidden": block.mlp.fc1}
        widths = {"attn_in": block.mlp.fc1.in_features, "ffn_hidden": block.mlp.fc1.out_features}
        adapters = BlockAdapters(
            {site: Adapter(widths[site], config, grid, prefix_tokens) for site in config.sites}
        )
        weight = block.mlp.fc1.weight
        adapters.to(weight.device, torch.float32 if weight.is_meta else weight.dtype)
        adapters.train(block.training)
        block.add_module(ATTRIBUTE, adapters)
        adapters.hook_to(modules)
        put.append(adapters)
    draw = SlowFastDraw(put, config.fast_prob)
    handle = cast(nn.Module, tower.embeddings).register_forward_pre_hook(draw.draw)
    put[0].hooks.append(handle)
    return heba_parameters(tower)


def remove_heba(tower: nn.Module) -> None:
    """Remove the adapters; the tower then computes what it did before they were installed.

    Raises:
        CraftError: there are no adapters.
    """
    found = [block for block in _blocks(tower) if hasattr(block, ATTRIBUTE)]
    if not found:
        raise CraftError("there are no adapters in this tower")
    for block in found:
        for hook in block.heba.hooks:
            hook.remove()
        delattr(block, ATTRIBUTE)


def has_heba(tower: nn.Module) -> bool:
    """Whether any part of ``tower`` is an adapter."""
    return any(isinstance(module, BlockAdapters) for module in tower.modules())


def heba_parameters(tower: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' weights by their names in ``tower``."""
    return {name: p for name, p in tower.named_parameters() if is_heba(name)}


def is_heba(name: str) -> bool:
    """Whether a weight with this name belongs to an adapter."""
    return ATTRIBUTE in name.split(".")


def idle_state(tower: nn.Module) -> dict[str, Tensor]:
    """Zeros for those of the adapters' weights that make the adapters idle when zero."""
    names = {id(p): name for name, p in tower.named_parameters()}
    adapters = (module for module in tower.modules() if isinstance(module, Adapter))
    return {names[id(p)]: torch.zeros_like(p) for a in adapters for p in a.closing}


def _blocks(tower: nn.Module) -> list[Any]:
    """The tower's blocks, in order."""
    parts = ("layer_norm1", "self_attn", "layer_norm2", "mlp")
    lists = [
        module
        for module in tower.modules()
        if isinstance(module, nn.ModuleList)
        and len(module)
        and all(hasattr(block, part) for block in module for part in parts)
    ]
    if len(lists) != 1 or not isinstance(getattr(tower, "embeddings", None), nn.Module):
        raise CraftError(
            f"{type(tower).__name__} is not built like CLIP's or SigLIP's towers: it needs "
            f"embeddings and one list of blocks with {', '.join(parts)}, but has {len(lists)} such "
            "lists; from a pair, pass its vision_model or text_model"
        )
    return list(lists[0])
