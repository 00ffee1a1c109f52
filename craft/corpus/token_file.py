"""A shard of tokens on disk: Parquet that any tool reads, and that says what it was made of.

Pages have checksums, which Parquet readers verify. Those cover neither the footer nor what is
written there, so the card in the metadata holds a hash of everything that is read back: ids,
images, codes, distances and the card itself.
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
    """What a shard was made of.

    Args:
        grid: rows and columns of patches.
        levels: of the codes.
        codebook_fingerprint: of the codebook they belong to.
        encoder_hash: of the encoder's weights.
        encoder_config: hash of all else that makes the encoder what it is.
        precision: of the encoder's products.
        shard: its number.
        of: number of shards.
        shard_size: images in every shard but the last.
        corpus: hash of all images' ids, in order.
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
    """One shard as read back.

    ``codes`` int64 [n, N, L] and ``residual_sq_norms`` float32 [n, N, L] are what
    :func:`craft.quantize` gave for the images ``ids``, whose patches lie on ``card.grid``;
    ``images`` are hashes of the images as they were then.
    """

    card: TokenCard
    ids: list[str]
    images: list[str]
    codes: Tensor
    residual_sq_norms: Tensor


def write_tokens(path: Path, tokens: CorpusTokens) -> None:
    """Write one shard, whole or not at all.

    Raises:
        OSError: it could not be written.
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
        StoredFileError: not a file of tokens, or one that is not what was written.
    """
    require_file(path, "tokens")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        noted = (table.schema.metadata or {}).get(_CARD)
        about = {} if noted is None else parse_json(noted)
    except Exception as error:  # of Arrow, which has many for damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk or of rights, which names the file
        raise _damaged(path, error) from error
    written = about.get("format") if isinstance(about, dict) else None
    if written == "craft-tokens-1" and "content" not in about:
        raise StoredFileError(
            f"{path} was written by an earlier version, without hashes that could be checked; run "
            "`craft tokenize` again with another --out"
        )
    if written is None:
        raise StoredFileError(
            f"{path} holds no tokens: its format is {written!r}, expected {FORMAT!r}; make such "
            "files with `craft tokenize`"
        )
    claimed = about.pop("content", None)
    card = as_card(about, path, "a file of tokens", TokenCard)
    try:
        tokens = _tokens(card, table)
    except Exception as error:  # of Arrow, numpy or torch: columns of other shapes or types
        raise _damaged(path, error) from error
    if claimed != _content(tokens):
        raise _damaged(path, "its content is not what its hash was made of")
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
    """SHA-256 of all that is read back."""
    texts = [tokens.card.model_dump(mode="json"), tokens.ids, tokens.images]
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    digest.update(tokens.codes.numpy().astype("<i4", order="C").data)
    digest.update(tokens.residual_sq_norms.contiguous().numpy().astype("<f4", order="C").data)
    return digest.hexdigest()


def _damaged(path: Path, why: Any) -> StoredFileError:
    said = next(iter(" ".join(str(why).split()).split("; ")), "") or type(why).__name__
    return StoredFileError(
        f"{path}, tokens, is damaged ({said:.200}); delete it, and run `craft tokenize` as before "
        "to make it again"
    )


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])
