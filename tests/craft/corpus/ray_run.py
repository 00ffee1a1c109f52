"""Counts and tokenises a corpus on two Ray workers, one of which is killed halfway.

``main`` runs in a process of its own, with the arguments MODELS and OUT: Ray starts many, and
warns in ways that tests would take for failures. It leaves ``prior.safetensors`` and ``tokens/``.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from craft.corpus import backend, count, tokens
from craft.corpus.backend import Workers
from craft.corpus.shard import CorpusEncoder, Shard, shards_of
from craft.data.images.store import TensorStore
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack

IMAGES, SHARD = 90, 8


def corpus(models: ModelFamily) -> tuple[CorpusEncoder, list[Shard]]:
    """Random images, the last shard smaller than the others."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 24, 24), generator=generator, dtype=torch.uint8)
    encoder = CorpusEncoder(EncoderPack.of(models.pretrained_tower()), models.codebook)
    return encoder, shards_of(TensorStore(images), SHARD)


@dataclass
class DiesOnce:
    """Kills its worker, as a failing machine would, on first reaching a shard."""

    work: backend.Work
    at: int
    marker: Path

    def __call__(self, shard: Shard) -> object:
        result = self.work(shard)  # finished and lost: what it wrote must not count twice
        if shard.number == self.at and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def main() -> None:
    directory, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    encoder, shards = corpus(ModelFamily(directory))
    workers = Workers(2, address="local")
    plain = backend.shard_workers

    def dying(name: str, at: int) -> None:
        @contextmanager
        def shard_workers(workers):  # type: ignore[no-untyped-def]
            with plain(workers) as each_shard:
                marker = out / f"{name}-died"
                yield lambda work, shards: each_shard(DiesOnce(work, at, marker), shards)

        for module in (count, tokens):
            vars(module)["shard_workers"] = shard_workers

    dying("count", 3)
    count.count_corpus(encoder, shards, workers).save(out / "prior.safetensors")
    dying("tokens", 5)
    assert sum(tokens.tokenize_corpus(encoder, shards, out / "tokens", workers)) == IMAGES
