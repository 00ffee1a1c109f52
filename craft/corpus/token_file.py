"""A shard of tokens as a Parquet file, which any tool can read and which records its origin.

Pages have checksums, which Parquet readers verify. These do not cover the footer and its metadata,
so the card in the metadata contains a hash of everything that is read back: ids, images, codes,
distances and the card itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from craft.runtime.json_cards import as_card
from craft.runtime.stored_files import StoredFileError, require_file
from craft.runtime.strict_text import parse_json
from craft.runtime.whole_file import whole_file

FORMAT = "craft-tokens-2"
_CARD = b"craft"


class TokenCard(BaseModel):
    """The metadata of a shard: what it was made from.

    Args:
        grid: rows and columns of patches.
        levels: number of code levels.
        codebook_fingerprint: fingerprint of the codebook that the codes belong to.
        encoder_hash: hash of the encoder's weights.
        encoder_config: hash of everything else that determines the encoder's output.
        precision: precision of the encoder's matrix products.
        shard: index of the shard.
        of: number of shards in the corpus.
        shard_size: number of images in every shard except the last.
        corpus: hash of the ids of all images in the corpus, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["craft-tokens-2"] = FORMAT
    grid: tuple[int, int]
    levels: int = Field(gt=0)
    codebook_fingerprint: str
    encoder_hash: str
    encoder_config: str
    precision: str
    shard: int = Field(ge=0)
    of: int = Field(gt=0)
    shard_size: int = Field(gt=0)
    corpus: str


@dataclass(frozen=True)
class CorpusTokens:
    """The content of one shard.

    ``codes`` int64 [n, N, L] and ``residual_sq_norms`` float32 [n, N, L] are the output of
    :func:`craft.quantize` for the images ``ids``, whose patches lie on ``card.grid``. ``images``
    are hashes of the images at the time they were encoded.
    """

    card: TokenCard
    ids: list[str]
    images: list[str]
    codes: Tensor
    residual_sq_norms: Tensor


def write_tokens(path: Path, tokens: CorpusTokens) -> None:
    """Write one shard atomically.

    Raises:
        OSError: the file could not be written.
    """
    flat = tokens.codes.flatten(1).to(torch.int32)
    distances = tokens.residual_sq_norms.flatten(1)
    columns = {
        "id": pa.array(tokens.ids, pa.string()),
        "image": pa.array(tokens.images, pa.string()),
        "codes": _lists(flat.numpy(), pa.int32()),
        "residual_sq_norms": _lists(distances.numpy(), pa.float32()),
    }
    about = {**tokens.card.model_dump(mode="json"), "content": _content(tokens)}
    table = pa.table(columns).replace_schema_metadata({_CARD: json.dumps(about)})
    with whole_file(path, table.nbytes) as unfinished:
        pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)


def read_tokens(path: Path) -> CorpusTokens:
    """Read one shard.

    Raises:
        StoredFileError: the file is not a token file, or differs from what was written.
    """
    require_file(path, "tokens")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        noted = (table.schema.metadata or {}).get(_CARD)
        about = {} if noted is None else parse_json(noted)
    except Exception as error:  # Arrow raises many kinds for damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk or permission error, which names the file
        raise _damaged(path, error) from error
    written = about.get("format") if isinstance(about, dict) else None
    if written == "craft-tokens-1" and "content" not in about:
        raise StoredFileError(
            f"{path} was written by an earlier version, without hashes to verify; run "
            "`craft tokenize` again with another --out"
        )
    if written is None:
        raise StoredFileError(
            f"{path} is not a token file: its format is {written!r}, expected {FORMAT!r}; create "
            "token files with `craft tokenize`"
        )
    claimed = about.pop("content", None)
    card = as_card(about, path, "a file of tokens", TokenCard)
    try:
        tokens = _tokens(card, table)
    except Exception as error:  # from Arrow, numpy or torch: columns of wrong shape or type
        raise _damaged(path, error) from error
    if claimed != _content(tokens):
        raise _damaged(path, "its content does not match its hash")
    return tokens


def _tokens(card: TokenCard, table: pa.Table) -> CorpusTokens:
    rows, columns = card.grid
    shape = (len(table), rows * columns, card.levels)
    wanted = {
        "id": pa.string(),
        "image": pa.string(),
        "codes": pa.list_(pa.int32(), shape[1] * shape[2]),
        "residual_sq_norms": pa.list_(pa.float32(), shape[1] * shape[2]),
    }
    found = dict(zip(table.column_names, table.schema.types, strict=True))
    if found != wanted:
        raise ValueError(f"its columns are {found}, expected {wanted}")
    codes, distances = (
        torch.from_numpy(table[name].combine_chunks().flatten().to_numpy().copy()).view(shape)
        for name in ("codes", "residual_sq_norms")
    )
    ids, images = (table[name].to_pylist() for name in ("id", "image"))
    return CorpusTokens(card, ids, images, codes.long(), distances)


def _content(tokens: CorpusTokens) -> str:
    """SHA-256 of everything that is read back."""
    texts = [tokens.card.model_dump(mode="json"), tokens.ids, tokens.images]
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    digest.update(tokens.codes.numpy().astype("<i4", order="C").data)
    digest.update(tokens.residual_sq_norms.contiguous().numpy().astype("<f4", order="C").data)
    return digest.hexdigest()


def _damaged(path: Path, why: Any) -> StoredFileError:
    said = next(iter(" ".join(str(why).split()).split("; ")), "") or type(why).__name__
    return StoredFileError(
        f"{path}, tokens, is damaged ({said:.200}); delete it, and run `craft tokenize` as before "
        "to recreate it"
    )


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])
