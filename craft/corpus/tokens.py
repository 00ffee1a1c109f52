"""Tokenised corpora: a Parquet file a shard, so that no image is encoded twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from craft.corpus.backend import Workers, each_shard
from craft.corpus.shard import CorpusEncoder, Shard, ShardCodes
from craft.errors import CraftError
from craft.prior import TokenPrior
from craft.runtime.whole_file import whole_file

_FORMAT = "craft-tokens-1"


@dataclass(frozen=True)
class CorpusTokens:
    """One shard as read back.

    ``codes`` int64 [n, N, L] and ``residual_sq_norms`` float32 [n, N, L] are what
    :func:`craft.quantize` gave for the images ``ids``, whose patches lie on ``grid``.
    """

    ids: list[str]
    codes: Tensor
    residual_sq_norms: Tensor
    grid: tuple[int, int]
    codebook_fingerprint: str
    encoder_hash: str


def tokenize_corpus(
    encoder: CorpusEncoder, shards: Sequence[Shard], out: Path, workers: Workers | None = None
) -> Iterator[int]:
    """Write each shard's tokens to ``out``; yields how many images each had, as they are done.

    Shards that are there already, whole and of this encoder, are left as they are: a run that was
    stopped goes on. Every file appears at once, complete.

    Raises:
        CraftError: a file in ``out`` is of another encoder or codebook, or of another cut.
        DataError: an image is missing or corrupt.
    """
    out.mkdir(parents=True, exist_ok=True)
    yield from each_shard(_Tokenize(encoder, out), shards, workers)


def require_same_cut(directory: Path, shards: int) -> None:
    """Raises CraftError if ``directory`` holds tokens that were cut into another number of shards:
    two cuts in one place belong together in no way."""
    cuts = {path.stem.split("-of-")[1] for path in directory.glob("tokens-*-of-*.parquet")}
    other = sorted(int(cut) for cut in cuts if int(cut) != shards)
    if other:
        raise CraftError(
            f"{directory} holds tokens in {other[0]} shards, these would be {shards}; choose "
            "another directory, or the --shard-size and data of that run"
        )


class _Tokenize:
    """The work of one worker."""

    def __init__(self, encoder: CorpusEncoder, out: Path):
        self.encoder = encoder
        self.out = out.absolute()
        self.encoder_hash = encoder.pack.encoder_hash

    def __call__(self, shard: Shard) -> int:
        path = self.out / f"tokens-{shard.number:06d}-of-{shard.of:06d}.parquet"
        if path.is_file():
            self._require_same(path, shard)
            return len(shard.ids)
        self._write(path, shard, self.encoder.encode(shard))
        return len(shard.ids)

    def _require_same(self, path: Path, shard: Shard) -> None:
        found = read_tokens(path)
        if found.encoder_hash != self.encoder_hash or found.ids != list(shard.ids):
            what = "other images" if found.encoder_hash == self.encoder_hash else "another encoder"
            raise CraftError(f"{path} holds tokens of {what}; choose another directory")

    def _write(self, path: Path, shard: Shard, codes: ShardCodes) -> None:
        flat = codes.codes.flatten(1)
        columns = {
            "id": pa.array(shard.ids),
            "codes": _lists(flat.to(torch.int32).numpy(), pa.int32()),
            "residual_sq_norms": _lists(codes.residual_sq_norms.flatten(1).numpy(), pa.float32()),
        }
        about = {
            "format": _FORMAT,
            "grid": list(self.encoder.tower.grid),
            "levels": codes.codes.shape[-1],
            "codebook_fingerprint": self.encoder.codebook.fingerprint,
            "encoder_hash": self.encoder_hash,
        }
        table = pa.table(columns).replace_schema_metadata({"craft": json.dumps(about)})
        with whole_file(path, table.nbytes) as unfinished:
            pq.write_table(table, unfinished, compression="zstd")


def read_tokens(path: Path) -> CorpusTokens:
    """Read one shard.

    Raises:
        CraftError: not a file of tokens.
    """
    table = pq.read_table(path)
    about = json.loads((table.schema.metadata or {}).get(b"craft", b"{}"))
    if about.get("format") != _FORMAT:
        raise CraftError(
            f"{path} holds no tokens: its format is {about.get('format')!r}, expected {_FORMAT!r}; "
            "make such files with `craft tokenize`"
        )
    grid: tuple[int, int] = tuple(about["grid"])
    shape = (len(table), grid[0] * grid[1], about["levels"])
    codes, distances = (
        torch.from_numpy(table[name].combine_chunks().flatten().to_numpy().copy()).view(shape)
        for name in ("codes", "residual_sq_norms")
    )
    return CorpusTokens(
        table["id"].to_pylist(),
        codes.long(),
        distances,
        grid,
        about["codebook_fingerprint"],
        about["encoder_hash"],
    )


def prior_of(directory: Path, encoder: CorpusEncoder) -> TokenPrior:
    """The first-level frequencies of a tokenised corpus, without looking at an image again.

    Raises:
        CraftError: no tokens there, a shard is missing, or they are of another encoder.
        CodebookMismatchError: they are of another codebook.
    """
    paths = sorted(directory.glob("tokens-*-of-*.parquet"))
    totals = {path.stem.split("-of-")[1] for path in paths}
    if len(totals) != 1 or len(paths) != int(next(iter(totals))):
        raise CraftError(
            f"{directory} holds {len(paths)} shards of tokens, of {' or '.join(totals) or '?'}; "
            "name the --out of one `craft tokenize` that has finished"
        )
    prior = TokenPrior.empty(encoder.codebook, encoder_hash=encoder.pack.encoder_hash)
    for path in paths:
        tokens = read_tokens(path)
        encoder.codebook.require_fingerprint(tokens.codebook_fingerprint)
        if tokens.encoder_hash != prior.encoder_hash:
            raise CraftError(
                f"{path} holds tokens of encoder {tokens.encoder_hash[:12]}, this one is "
                f"{prior.encoder_hash[:12]}; tokenize the images with it"
            )
        prior.update(tokens.codes)
    return prior


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])
