"""Counting a domain's token prior with the encoder that will be used on it (methods D6, D7)."""

from __future__ import annotations

from torch import Tensor

from craft.data.images.augment import resize
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash


def count_prior(
    tower: DiscreteVisionTower,
    images: Tensor,  # uint8 [n, 3, S, S]
    batch: int = 256,
) -> TokenPrior:
    """First-level code frequencies of ``images``, unaugmented, at the encoder's size."""
    size = tower.image_size
    chunks = (resize(chunk.float() / 255, size) for chunk in images.split(batch))
    return TokenPrior.count(
        (tower.encode(chunk).codes for chunk in chunks),
        tower.codebook,
        encoder_hash=tensor_hash(tower.state_dict()),
    )
