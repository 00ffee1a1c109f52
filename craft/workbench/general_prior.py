"""Code frequencies of general images, for models that lack them, such as converted checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from craft.corpus.count import count_corpus
from craft.corpus.shard import CorpusEncoder, shards_of
from craft.data.images.record_store import RecordStore
from craft.data.readers import Record
from craft.family.family import ModelFamily
from craft.family.layout import PRIOR
from craft.family.manifest import note_file
from craft.prior import TokenPrior


def count_general_prior(
    family: ModelFamily,
    images: Sequence[Record],
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> TokenPrior:
    """Count the pretrained encoder's first-level codes of general images.

    The prior is written to the family's directory, where pruning with the pretrained encoder
    finds it.

    Args:
        images: of any kind that the models should know; labels and questions are ignored.
        on_shard: called with (shards done, shards) after each.

    Raises:
        DataError: an image is missing or corrupt.
        OSError: the directory cannot be written to.
    """
    encoder = CorpusEncoder.of(family.plug(), family.codebook)
    prior = count_corpus(
        encoder, shards_of(RecordStore(images, family.image_size)), on_shard=on_shard
    )
    prior.save(family.directory / PRIOR)
    note_file(family.directory, PRIOR)
    return prior


def prior_made_by(family: ModelFamily, pack: Path | str | None) -> str:
    """For error messages: the command that counts a missing prior.

    Args:
        pack: the pack whose prior is missing; None for the pretrained encoder's.
    """
    if pack is None:
        return (
            "count one over general images with "
            f"`craft convert general-prior {family.directory} DATA`"
        )
    return f"count one with `craft prior {pack}`"
