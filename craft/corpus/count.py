"""Counting the token prior of a corpus, in this process or with workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from craft.corpus.backend import Workers, shard_workers
from craft.corpus.shard import CorpusEncoder, Shard
from craft.data.images.store import BATCH, ImageStore, in_batches
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.processes import ALONE, Processes
from craft.runtime.tensor_hash import tensor_hash


def count_corpus(
    encoder: CorpusEncoder,
    shards: Sequence[Shard],
    workers: Workers | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
    processes: Processes = ALONE,
) -> TokenPrior:
    """Count first-level code frequencies; the result depends on workers only by their threads.

    Args:
        on_shard: called with (shards done, number of shards) after each shard.
        processes: each of them counts some of the shards, and has the whole prior afterwards.

    Raises:
        DataError: an image is missing or corrupt.
    """
    prior = TokenPrior.empty(encoder.codebook, encoder_hash=encoder.pack.encoder_hash)
    tally = processes.tally(0, len(shards), on_shard)
    with shard_workers(workers) as each_shard:
        for found in each_shard(_Count(encoder), processes.claimed(shards)):
            prior.counts += found
            tally.add(1)
    prior.counts = torch.stack(processes.gathered(prior.counts)).sum(0)
    tally.close()
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
