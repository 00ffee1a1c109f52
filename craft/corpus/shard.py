"""Shards, the unit of work: images of a corpus that are always encoded together."""

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
    """A shard of a corpus.

    Args:
        number: index of the shard, from 0.
        of: number of shards in the corpus.
        size: number of images in every shard except the last.
        corpus: hash of the ids of all images in the corpus, in order.
    """

    number: int
    of: int
    ids: tuple[str, ...]
    images: ImageStore
    size: int
    corpus: str

    def digests(self) -> list[str]:
        """Hash each image; images with equal hashes have equal codes.

        Raises:
            DataError: an image cannot be read.
        """
        return digests(self.images)


class ShardCodes(NamedTuple):
    """The codes of a shard, on the CPU: ``codes`` int64 [n, N, L] and ``residual_sq_norms``
    float32 [n, N, L]."""

    codes: Tensor
    residual_sq_norms: Tensor


def shards_of(images: ImageStore, size: int = 256, ids: Sequence[str] | None = None) -> list[Shard]:
    """Divide a corpus, in order, into shards of ``size`` images.

    Which images are encoded together does not depend on the workers, so neither do rounding and
    codes.

    Args:
        ids: one id per image; by default the row numbers.

    Raises:
        CraftError: ``size`` is below 1, or the number of ids is not the number of images.
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
    """An encoder and its codebook, in a form that is sent to every worker and placed on
    ``device`` there.

    Args:
        compiled: whether it runs through torch.compile; codes in near-ties may differ.
    """

    pack: EncoderPack
    codebook: Codebook
    device: str = "cpu"
    compiled: bool = False

    @classmethod
    def of(
        cls, encoder: PluggedEncoder, codebook: Codebook, compiled: bool = False
    ) -> CorpusEncoder:
        """Wrap a plugged encoder; the pretrained encoder is made into a pack too."""
        pack = encoder.pack or EncoderPack.of(encoder.tower)
        # On the CPU, so that every worker can place them on its own device.
        pack = replace(pack, weights={name: x.cpu() for name, x in pack.weights.items()})
        return cls(pack, codebook, str(encoder.tower.device), compiled)

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name != "tower"}

    @property
    def precision(self) -> str:
        """Precision of the encoder's products, as token files record it."""
        return self.pack.precision + (COMPILED if self.compiled else "")

    @cached_property
    def tower(self) -> DiscreteVisionTower:
        """The encoder, built on first use.

        Raises:
            CodebookMismatchError: the pack was made for another codebook.
        """
        tower: DiscreteVisionTower = cast(Any, self.pack.tower(self.codebook)).to(self.device)
        if self.compiled:
            tower.compile_features()
        return tower

    def encode(self, shard: Shard, pace: EncodingPace | None = None) -> ShardCodes:
        """Quantise a shard's images batch by batch; features are not kept.

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
