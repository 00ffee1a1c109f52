"""Load the encoder of a VILA-U checkpoint as our vision tower, without VILA-U's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from craft.integrations.vila_u.checkpoint import VISION, VilaUCheckpoint
from craft.runtime.stored_tensors import require_fractions, require_shapes

if TYPE_CHECKING:
    from craft.models.vision_tower import DiscreteVisionTower


def load_tower(
    path: Path | str,
    *,
    siglip_config: Path | str | Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> DiscreteVisionTower:
    """Load SigLIP's embeddings, its blocks up to the penultimate, and the codebook.

    Args:
        path: a downloaded checkpoint, as for ``vila_u.load``.
        siglip_config: folder or content of SigLIP's config.json; not needed for the two releases.
        dtype: of the weights; by default as stored. The codebook is always float32, and features
            are quantised in float32.

    Raises:
        CraftError: not a checkpoint, an incomplete one, or one whose SigLIP config is not known.
    """
    from craft.models.configuration import DiscreteVisionConfig
    from craft.models.vision_tower import DiscreteVisionTower

    checkpoint = VilaUCheckpoint(path)
    vision = checkpoint.siglip_config(siglip_config)["vision_config"]
    known = {k: v for k, v in vision.items() if k not in ("model_type", "architectures")}
    config = DiscreteVisionConfig(**known)
    with torch.device("meta"):
        tower = DiscreteVisionTower(config, checkpoint.codebook)
    require_shapes(
        {n: checkpoint.shape(stored_name(n)) for n in tower.state_dict()},
        {n: tuple(x.shape) for n, x in tower.state_dict().items()},
        checkpoint.folder,
    )
    for name in map(stored_name, tower.state_dict()):
        require_fractions(name, checkpoint.tensors[name], "weights of VILA-U's tower")
    wanted = dtype or checkpoint.dtype
    weights = {n: checkpoint.tensor(stored_name(n)).to(wanted) for n in tower.state_dict()}
    tower.load_state_dict(weights, assign=True)
    rows, columns = tower.grid
    embeddings: Any = tower.embeddings
    embeddings.position_ids = torch.arange(rows * columns).expand(1, -1)
    return tower.eval().requires_grad_(False)


def stored_name(name: str) -> str:
    """Name in VILA-U's checkpoints of a weight of a DiscreteVisionTower."""
    return VISION + name.replace("blocks.", "encoder.layers.", 1)
