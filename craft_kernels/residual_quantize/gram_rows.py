"""Rows of a codebook's Gram matrix C C^T, computed when first needed and kept within a budget."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.fork_aware_lock import ForkAwareLock
from craft_kernels.residual_quantize.buffers import empty
from craft_kernels.residual_quantize.tile import GramTile, tile_of_thread


class Slab(NamedTuple):
    """Rows that were computed together."""

    codes: Tensor  # [m] int64
    rows: Tensor  # [m, row_bytes] uint8, immutable; see csrc/gram_rows.h


class Snapshot(NamedTuple):
    """The rows available at one moment. It is immutable and keeps its rows alive."""

    row_at: Tensor  # [K] int64: address of row k, 0 where missing
    slabs: tuple[Slab, ...]  # oldest first


class GramRows:
    """The rows that calls on one codebook share.

    A call works on a snapshot. Eviction leaves the oldest slabs out of the next snapshot, so it
    cannot take rows away from a running call.
    """

    def __init__(
        self,
        native_codewords: Any,
        words: Tensor,  # [K, D] float32
        mean: Tensor | None,  # [D] float32
        row_bytes: int,
        max_bytes: int,
    ) -> None:
        self._native_codewords = native_codewords
        self._words = words
        self._mean = mean
        self._row_bytes = row_bytes
        self._max_bytes = max_bytes
        self._filling = ForkAwareLock()
        self.snapshot = Snapshot(words.new_zeros(len(words), dtype=torch.int64), ())

    @property
    def nbytes(self) -> int:
        return _nbytes(self.snapshot.slabs)

    def with_rows(
        self,
        codes: Tensor,  # [m] int64, distinct
    ) -> Snapshot:
        """A snapshot that holds the rows of `codes`; rows beyond the budget live in it alone."""
        with self._filling:  # so that callers who lack the same rows compute them once
            held = self.snapshot
            codes = codes[held.row_at[codes] == 0]
            if not len(codes):
                return held
            rows = self._compute(codes)
            if _nbytes([Slab(codes, rows)]) > self._max_bytes:
                return _snapshot(held.row_at, [*held.slabs, Slab(codes, rows)], evicted=[])
            kept = [*held.slabs, Slab(codes, rows)]
            evicted = []
            while _nbytes(kept) > self._max_bytes:
                evicted.append(kept.pop(0))
            self.snapshot = _snapshot(held.row_at, kept, evicted)
            return self.snapshot

    def _compute(
        self,
        codes: Tensor,  # [m] int64
    ) -> Tensor:  # [m, row_bytes] uint8
        K, dim = self._words.shape
        rows = empty(len(codes), self._row_bytes, dtype=torch.uint8)
        tile = tile_of_thread(GramTile, K, dim)
        for start in range(0, len(codes), tile.tokens):
            words = self._words[codes[start : start + tile.tokens]]
            if self._mean is not None:
                words -= self._mean
            native_module().gram_rows(
                self._native_codewords,
                tile.native,
                T=len(words),
                source=tile.source(words, 0, len(words)),
                rows=rows[start:].data_ptr(),
                threads=torch.get_num_threads(),
            )
        return rows


def _nbytes(slabs) -> int:
    return sum(slab.rows.nbytes for slab in slabs)


def _snapshot(row_at: Tensor, slabs: list[Slab], evicted: list[Slab]) -> Snapshot:
    row_at = row_at.clone()
    for slab in evicted:
        row_at[slab.codes] = 0
    codes, rows = slabs[-1]
    row_bytes = rows.stride(0) * rows.itemsize
    row_at[codes] = rows.data_ptr() + row_bytes * torch.arange(len(codes), device=rows.device)
    return Snapshot(row_at, tuple(slabs))
