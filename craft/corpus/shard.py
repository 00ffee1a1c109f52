"""The unit of work: some images of a corpus, encoded together wherever that happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from craft.codebook import Codebook
from craft.data.images.augment import resize
from craft.data.images.pixels import read_images
from craft.data.readers import Record
from craft.errors import CraftError
from craft.family.plugged import PluggedEncoder
from craft.models.encoder_pack import EncoderPack
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.device import pixels_on
from craft_kernels import ResidualCodes


@dataclass(frozen=True)
class Shard:
    """Number ``number`` of ``of``; ``images`` are records, or uint8 [n, 3, S, S] in memory.

    Args:
        size: of every shard of the corpus but the last.
        corpus: hash of the ids of all images of the corpus, in order.
    """

    number: int
    of: int
    ids: tuple[str, ...]
    images: Sequence[Record] | Tensor
    size: int
    corpus: str

    def digests(self) -> list[str]:
        """A hash of each image: equal ones give equal codes.

        Raises:
            DataError: an image cannot be read.
        """
        if isinstance(self.images, Tensor):
            rows = self.images.contiguous().cpu().numpy()
            return [hashlib.blake2b(row.data, digest_size=16).hexdigest() for row in rows]
        return [_digest(record) for record in self.images]

    def pixels(self, size: int, device: torch.device) -> Tensor:  # [n, 3, size, size] in [0, 1]
        """Decoded and resized, on a device.

        Raises:
            DataError: an image is missing or corrupt.
        """
        if isinstance(self.images, Tensor):
            return resize(pixels_on(self.images, device), size)
        return pixels_on(read_images(self.images, size), device)


def shards_of(
    images: Sequence[Record] | Tensor, size: int = 256, ids: Sequence[str] | None = None
) -> list[Shard]:
    """A corpus in order, cut into shards of ``size`` images.

    What is encoded together does not depend on who does it, so neither do rounding and codes.

    Args:
        ids: of images in memory; their numbers if not given.

    Raises:
        CraftError: a size below 1, or another number of ids than images.
    """
    if size < 1:
        raise CraftError(f"a shard holds at least one image, got size {size}")
    if ids is None:
        ids = (
            [str(row) for row in range(len(images))]
            if isinstance(images, Tensor)
            else [record.id for record in images]
        )
    if len(ids) != len(images):
        raise CraftError(f"{len(images)} images need as many ids, got {len(ids)}")
    starts = range(0, len(images), size)
    corpus = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()
    return [
        Shard(
            number,
            len(starts),
            tuple(ids[start : start + size]),
            images[start : start + size],
            size,
            corpus,
        )
        for number, start in enumerate(starts)
    ]


def _digest(record: Record) -> str:
    if record.pixel_range is None:
        return record.digest()
    # The same file is another image where its values are mapped otherwise.
    return f"{record.digest()} {record.pixel_range.black:g}:{record.pixel_range.white:g}"


@dataclass(frozen=True)
class CorpusEncoder:
    """An encoder and its codebook, small enough to send to every worker, which places them on
    ``device``."""

    pack: EncoderPack
    codebook: Codebook
    device: str = "cpu"

    @classmethod
    def of(cls, encoder: PluggedEncoder, codebook: Codebook) -> CorpusEncoder:
        """A plugged encoder; the pretrained one is sent as a pack too."""
        return cls(
            encoder.pack or EncoderPack.of(encoder.tower), codebook, str(encoder.tower.device)
        )

    @cached_property
    def tower(self) -> DiscreteVisionTower:
        """Made when it is first asked for; CodebookMismatchError if the codebook is another."""
        return cast(Any, self.pack.tower(self.codebook)).to(self.device)

    def encode(self, shard: Shard) -> ResidualCodes:  # codes [n, N, L]
        """Quantise a shard's images; the result is on the CPU."""
        found = self.tower.encode(shard.pixels(self.tower.image_size, self.tower.device))
        return ResidualCodes(*(column.cpu() for column in found))
