"""Rows of a codebook's Gram matrix C C^T, computed when first needed and kept within a budget."""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from torch import Tensor

from craft_kernels.residual_quantize.matmul import matmul_transposed


class Slab(NamedTuple):
    codes: Tensor  # [m] int64
    rows: Tensor  # [m, K] float32, never written again


class Snapshot(NamedTuple):
    """The rows at hand at one moment. Nothing in it changes, and it keeps its rows alive."""

    row_at: Tensor  # [K] int64: address of row k, 0 where missing
    slabs: tuple[Slab, ...]  # oldest first


class GramRows:
    """What calls on one codebook share. A caller works on a snapshot, so eviction, which forgets
    the oldest slabs in the next snapshot, cannot take rows away from a running call."""

    def __init__(
        self,
        words: Tensor,  # [K, D] float32
        max_bytes: int,
    ) -> None:
        self._words = words
        self.max_bytes = max_bytes
        self._filling = threading.Lock()
        self.snapshot = Snapshot(words.new_zeros(len(words), dtype=torch.int64), ())

    @property
    def nbytes(self) -> int:
        return _nbytes(self.snapshot.slabs)

    def with_rows(
        self,
        codes: Tensor,  # [m] int64, distinct
    ) -> Snapshot:
        """A snapshot that has the rows of `codes`. Rows beyond the budget live in it alone."""
        with self._filling:  # callers that miss the same rows compute them once
            held = self.snapshot
            codes = codes[held.row_at[codes] == 0]
            if not len(codes):
                return held
            rows = self._words.new_empty((len(codes), len(self._words)))
            matmul_transposed(self._words[codes], self._words, out=rows)
            if _nbytes([Slab(codes, rows)]) > self.max_bytes:
                return _snapshot(held.row_at, [*held.slabs, Slab(codes, rows)], evicted=[])
            kept = [*held.slabs, Slab(codes, rows)]
            evicted = []
            while _nbytes(kept) > self.max_bytes:
                evicted.append(kept.pop(0))
            self.snapshot = _snapshot(held.row_at, kept, evicted)
            return self.snapshot


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
