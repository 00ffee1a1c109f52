"""The unit of work: some images of a corpus, encoded together wherever that happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from craft.codebook import Codebook
from craft.data.images.pace import EncodingPace
from craft.data.images.store import ImageStore, cut, digests, each_batch
from craft.errors import CraftError
from craft.family.plugged import PluggedEncoder
from craft.models.encoder_pack import EncoderPack
from craft.models.vision_tower import DiscreteVisionTower

#: Ends the precision of what a compiled encoder made.
COMPILED = ", compiled"


@dataclass(frozen=True)
class Shard:
    """Number ``number`` of ``of``.

    Args:
        size: of every shard of the corpus but the last.
        corpus: hash of the ids of all images of the corpus, in order.
    """

    number: int
    of: int
    ids: tuple[str, ...]
    images: ImageStore
    size: int
    corpus: str

    def digests(self) -> list[str]:
        """A hash of each image: equal ones give equal codes.

        Raises:
            DataError: an image cannot be read.
        """
        return digests(self.images)


class ShardCodes(NamedTuple):
    """What is kept of a shard: ``codes`` int64 [n, N, L] and ``residual_sq_norms`` float32
    [n, N, L], on the CPU."""

    codes: Tensor
    residual_sq_norms: Tensor


def shards_of(images: ImageStore, size: int = 256, ids: Sequence[str] | None = None) -> list[Shard]:
    """A corpus in order, cut into shards of ``size`` images.

    What is encoded together does not depend on who does it, so neither do rounding and codes.

    Args:
        ids: of the images; their numbers if not given.

    Raises:
        CraftError: a size below 1, or another number of ids than images.
    """
    if size < 1:
        raise CraftError(f"a shard holds at least one image, got size {size}")
    if ids is None:
        ids = [str(row) for row in range(len(images))]
    if len(ids) != len(images):
        raise CraftError(f"{len(images)} images need as many ids, got {len(ids)}")
    starts = range(0, len(images), size)
    corpus = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()
    return [
        Shard(
            number,
            len(starts),
            tuple(ids[start : start + size]),
            images.take(range(start, min(start + size, len(images)))),
            size,
            corpus,
        )
        for number, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class CorpusEncoder:
    """An encoder and its codebook, small enough to send to every worker, which places them on
    ``device``.

    Args:
        compiled: it runs compiled by torch.compile, and codes may differ in near-ties.
    """

    pack: EncoderPack
    codebook: Codebook
    device: str = "cpu"
    compiled: bool = False

    @classmethod
    def of(
        cls, encoder: PluggedEncoder, codebook: Codebook, compiled: bool = False
    ) -> CorpusEncoder:
        """A plugged encoder; the pretrained one is sent as a pack too."""
        pack = encoder.pack or EncoderPack.of(encoder.tower)
        # From the CPU they go wherever a worker places them.
        pack = replace(pack, weights={name: x.cpu() for name, x in pack.weights.items()})
        return cls(pack, codebook, str(encoder.tower.device), compiled)

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name != "tower"}

    @property
    def precision(self) -> str:
        """Of the encoder's products, as files of tokens note it."""
        return self.pack.precision + (COMPILED if self.compiled else "")

    @cached_property
    def tower(self) -> DiscreteVisionTower:
        """Made when it is first asked for; CodebookMismatchError if the codebook is another."""
        tower: DiscreteVisionTower = cast(Any, self.pack.tower(self.codebook)).to(self.device)
        if self.compiled:
            tower.compile_features()
        return tower

    def encode(self, shard: Shard, pace: EncodingPace | None = None) -> ShardCodes:
        """Quantise a shard's images, a batch at a time; features are not kept.

        Args:
            pace: is told how fast.

        Raises:
            DataError: an image is missing or corrupt.
        """
        parts = []
        batches = cut(0, len(shard.images))
        for pixels in each_batch(shard.images, batches, self.tower.image_size, pace):
            found = self.tower.encode(pixels)
            parts.append((found.codes.cpu(), found.residual_sq_norms.cpu()))
        return ShardCodes(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
