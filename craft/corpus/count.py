"""Counting the token prior of a corpus, in this process or with workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from craft.corpus.backend import Workers, each_shard
from craft.corpus.shard import CorpusEncoder, Shard
from craft.data.images.store import BATCH, ImageStore, in_batches
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash


def count_corpus(
    encoder: CorpusEncoder,
    shards: Sequence[Shard],
    workers: Workers | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> TokenPrior:
    """Count first-level code frequencies; the result depends on workers only by their threads.

    Args:
        on_shard: called with (shards done, number of shards) after each shard.

    Raises:
        DataError: an image is missing or corrupt.
    """
    prior = TokenPrior.empty(encoder.codebook, encoder_hash=encoder.pack.encoder_hash)
    for done, found in enumerate(each_shard(_Count(encoder), shards, workers), 1):
        prior.counts += found
        on_shard(done, len(shards))
    return prior


@dataclass(frozen=True)
class _Count:
    """Counts the codes of one shard."""

    encoder: CorpusEncoder

    def __call__(self, shard: Shard) -> Tensor:  # [K] int64
        ids = self.encoder.encode(shard).codes[..., 0].flatten()
        return ids.bincount(minlength=self.encoder.codebook.size)


def count_prior(
    tower: DiscreteVisionTower,
    images: ImageStore,
    batch: int = BATCH,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> TokenPrior:
    """Count first-level code frequencies of ``images``, unaugmented, at the encoder's image size.

    Args:
        on_images: called with (images encoded, number of images), first with 0.
    """
    size = tower.image_size

    def encoded() -> Iterator[Tensor]:
        done = 0
        for chunk in in_batches(images, size, batch):
            on_images(done, len(images))
            yield tower.encode(chunk).codes
            done += len(chunk)

    prior = TokenPrior.count(
        encoded(), tower.codebook, encoder_hash=tensor_hash(tower.state_dict())
    )
    on_images(len(images), len(images))
    return prior
