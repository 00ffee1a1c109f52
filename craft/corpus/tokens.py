"""Tokenised corpora: one Parquet file per shard, so that no image is encoded twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from craft.corpus.backend import Workers, shard_workers
from craft.corpus.shard import COMPILED, CorpusEncoder, Shard
from craft.corpus.token_file import CorpusTokens, TokenCard, read_tokens, write_tokens
from craft.data.images.pace import EncodingPace
from craft.errors import CraftError
from craft.prior import TokenPrior
from craft.runtime.directory_lock import directory_lock, require_unlocked
from craft.runtime.processes import ALONE, Processes
from craft.runtime.whole_file import remove_unfinished

__all__ = ["CorpusTokens", "prior_of", "read_tokens", "tokenize_corpus"]

#: Field of a card -> the part of the message that describes a mismatch.
_DIFFERENCES = {
    "shard_size": "--shard-size {found}, this is {wanted}",
    "of": "{found} shards, this run has {wanted}",
    "corpus": "other images, according to their ids",
    "shard": "shard {found}, under the name of shard {wanted}",
    "codebook_fingerprint": "codebook {found:.12}, this is {wanted:.12}",
    "encoder_hash": "another encoder: {found:.12}, this is {wanted:.12}",
    "encoder_config": "another encoder, according to its configuration",
    "precision": "an encoder in {found}, this one computes in {wanted}",
    "grid": "{found} patches, this encoder has {wanted}",
    "levels": "{found} levels, this codebook has {wanted}",
}
#: Fields of a model's config that tell where it comes from and how it runs, not what it computes.
_ASIDE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "model_type",
    "transformers_version",
    "_attn_implementation",
}


def tokenize_corpus(
    encoder: CorpusEncoder,
    shards: Sequence[Shard],
    out: Path,
    workers: Workers | None = None,
    processes: Processes = ALONE,
    pace: EncodingPace | None = None,
) -> Iterator[int]:
    """Write each shard's tokens to ``out``, and yield its number of images when it is done.

    Shards that exist already are read first and their images hashed. The others are written only if
    all of these are intact, made with this encoder, and made from these images as they are now. So
    an interrupted run resumes, and a refused one writes nothing. Files are written atomically.

    Args:
        processes: each of them works on some of the shards, and yields those; afterwards all are
            done.
        pace: is told how fast images were encoded, by all of them.

    Raises:
        CraftError: a file in ``out`` is damaged, or of another encoder, codebook, precision or
            ``--shard-size``, or of images that are others now; says which.
        LockedError: another process writes to ``out``.
        DataError: an image is missing or corrupt.
        OSError: a file cannot be written; those that are there are whole.
    """
    require_unlocked(out)
    _require_same_cut(out, shards)
    there = processes.from_main(
        lambda: [number for number, x in enumerate(shards) if token_path(out, x).is_file()]
    )
    missing = sorted(set(range(len(shards))) - set(there))
    mine = EncodingPace()
    with shard_workers(workers) as each_shard, ExitStack() as held:
        present = processes.claimed([shards[number] for number in there])
        yield from each_shard(_Check(encoder, out.absolute()), present)
        processes.wait()  # nothing is written before all of them are known to be intact
        if processes.is_main:
            held.enter_context(directory_lock(out))
            remove_unfinished(out)
        processes.wait()
        absent = processes.claimed([shards[number] for number in missing])
        for made in each_shard(_Tokenize(encoder, out.absolute()), absent):
            mine.add(made)
            yield made.images
        for part in processes.gathered(mine):
            if pace is not None:
                pace.add(part)


def token_path(out: Path, shard: Shard) -> Path:
    """The path of a shard's token file."""
    return out / f"tokens-{shard.number:06d}-of-{shard.of:06d}.parquet"


def _require_same_cut(directory: Path, shards: Sequence[Shard]) -> None:
    """Raise CraftError if ``directory`` holds tokens with another number of shards or shard size.

    Shards of two different divisions cannot be combined.
    """
    for path in sorted(directory.glob("tokens-*-of-*.parquet")):
        if shards and path.stem.split("-of-")[1] != f"{shards[0].of:06d}":
            found = read_tokens(path).card
            _refuse(path, {"shard_size": (found.shard_size, shards[0].size)})
            _refuse(path, {"of": (found.of, shards[0].of)})


@dataclass(frozen=True)
class _Check:
    """Verifies a shard that exists already."""

    encoder: CorpusEncoder
    out: Path

    def __call__(self, shard: Shard) -> int:
        path = token_path(self.out, shard)
        found = read_tokens(path)
        wanted = card_of(self.encoder, shard)
        _refuse(path, {n: (getattr(found.card, n), getattr(wanted, n)) for n in _DIFFERENCES})
        if found.ids != list(shard.ids):
            _refuse(path, {"corpus": (0, 1)})
        now = shard.digests()
        changed = [i for i, a, b in zip(found.ids, found.images, now, strict=True) if a != b]
        if changed:
            raise CraftError(
                f"{path} holds tokens of images that have changed since: {changed[0]!r}, and "
                f"{len(changed) - 1} more of its {len(now)}; delete the file to encode its images "
                "again, or choose another directory"
            )
        return len(shard.ids)


@dataclass(frozen=True)
class _Tokenize:
    """Encodes and writes a missing shard."""

    encoder: CorpusEncoder
    out: Path

    def __call__(self, shard: Shard) -> EncodingPace:
        pace = EncodingPace()
        codes = self.encoder.encode(shard, pace)
        images = shard.digests()  # known now, as all were read
        tokens = CorpusTokens(
            card_of(self.encoder, shard),
            list(shard.ids),
            images,
            codes.codes,
            codes.residual_sq_norms,
        )
        write_tokens(token_path(self.out, shard), tokens)
        return pace


def _refuse(path: Path, fields: dict[str, tuple[object, object]]) -> None:
    """Raise CraftError for the first field whose values, found and wanted, differ."""
    for name, (found, wanted) in fields.items():
        if found != wanted:
            what = _DIFFERENCES[name].format(found=found, wanted=wanted)
            raise CraftError(
                f"{path} holds tokens of {what}; choose another directory, or use the encoder, "
                "data and --shard-size of that run"
            )


def card_of(encoder: CorpusEncoder, shard: Shard) -> TokenCard:
    """The card of a shard's tokens."""
    return TokenCard(
        grid=encoder.tower.grid,
        levels=encoder.codebook.levels,
        codebook_fingerprint=encoder.codebook.fingerprint,
        encoder_hash=encoder.pack.encoder_hash,
        encoder_config=_config_hash(encoder),
        precision=encoder.precision,
        shard=shard.number,
        of=shard.of,
        shard_size=shard.size,
        corpus=shard.corpus,
    )


def _config_hash(encoder: CorpusEncoder) -> str:
    """Hash what the encoder computes besides its weights: heads, activation, norms, layer read."""
    config = {k: v for k, v in encoder.pack.vision_config.items() if k not in _ASIDE}
    text = json.dumps([config, encoder.pack.read_layer], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def prior_of(directory: Path, encoder: CorpusEncoder) -> TokenPrior:
    """Count the first-level code frequencies of a tokenised corpus, without reading its images.

    Raises:
        CraftError: there are no tokens; a shard is missing, damaged or from another corpus; or the
            tokens were made with another encoder.
        CodebookMismatchError: the tokens were made with another codebook.
    """
    paths = sorted(directory.glob("tokens-*-of-*.parquet"))
    totals = {path.stem.split("-of-")[1] for path in paths}
    if len(totals) != 1 or len(paths) != int(next(iter(totals))):
        raise CraftError(
            f"{directory} holds {len(paths)} of {' or '.join(totals) or '?'} shards of tokens; "
            "name the --out of a `craft tokenize` that has finished"
        )
    prior = TokenPrior.empty(encoder.codebook, encoder_hash=encoder.pack.encoder_hash)
    known = {
        "encoder_config": _config_hash(encoder),
        "precision": encoder.pack.precision,
        "of": len(paths),
    }
    for number, path in enumerate(paths):
        tokens = read_tokens(path)
        encoder.codebook.require_fingerprint(tokens.card.codebook_fingerprint)
        if tokens.card.encoder_hash != prior.encoder_hash:
            raise CraftError(
                f"{path} holds tokens of encoder {tokens.card.encoder_hash[:12]}, this one is "
                f"{prior.encoder_hash[:12]}; tokenize the images with it"
            )
        of_the_first = {"corpus": tokens.card.corpus, "shard_size": tokens.card.shard_size}
        known = of_the_first | known | {"shard": number}
        found = {name: getattr(tokens.card, name) for name in known}
        # Compiled or not: what differs are near-ties, of which a frequency knows nothing.
        found["precision"] = tokens.card.precision.removesuffix(COMPILED)
        _refuse(path, {name: (found[name], known[name]) for name in known})
        prior.update(tokens.codes)
    return prior
