"""What the levels fitted so far leave of every row."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from craft.fitting.rows import Rows, TensorRows, chunks
from craft_kernels import residual_quantize


class Residuals:
    """The inputs of the next level, r_l of `craft.quantize`, for a process's share of the rows.

    They are kept in memory if the rows are, else in a temporary file, in float32.

    Args:
        span: first row of the share, and the one after its last.
        at_once: rows that are worked on together.
    """

    def __init__(self, rows: Rows, span: tuple[int, int], device: torch.device, at_once: int):
        self._rows, self._span, self._device, self._at_once = rows, span, device, at_once
        self._tables: list[Tensor] = []
        self._kept: np.ndarray | None = None

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers [n] and residuals [n, D] of the rows of the share."""
        for begin, end in chunks(*self._span, self._at_once):
            yield torch.arange(begin, end, device=self._device), self._take(begin, end)

    def gather(self, numbers: Tensor) -> Tensor:  # [n] -> [n, D] float32
        """Residuals of any rows, also of another process's share."""
        found = [self._rows.take(i, i + 1).float() for i in numbers.tolist()]
        residual = torch.cat(found).to(self._device)
        for table in self._tables:
            residual = _next(residual, table)
        return residual

    def subtract(self, table: Tensor) -> float:  # [K, D]
        """Goes on to the next level; returns the largest absolute value of a component there."""
        largest = 0.0
        kept = self._kept if self._kept is not None else self._new_store()
        for begin, end in chunks(*self._span, self._at_once):
            residual = _next(self._take(begin, end), table)
            largest = max(largest, float(residual.abs().max()))
            start = begin - self._span[0]
            kept[start : start + len(residual)] = residual.cpu().numpy()
        self._kept = kept
        self._tables.append(table)
        return largest

    def _take(self, begin: int, end: int) -> Tensor:
        if self._kept is None:
            return self._rows.take(begin, end).float().to(self._device)
        first = self._span[0]
        return torch.from_numpy(np.array(self._kept[begin - first : end - first])).to(self._device)

    def _new_store(self) -> np.ndarray:
        shape = (self._span[1] - self._span[0], self._rows.dim)
        if isinstance(self._rows, TensorRows):
            return np.empty(shape, np.float32)
        with tempfile.TemporaryFile() as file:  # it has no name, so it ends with this process
            return np.memmap(file, np.float32, "w+", shape=shape)


def _next(residual: Tensor, table: Tensor) -> Tensor:  # [n, D]
    codes = residual_quantize(residual, table, 1).codes[:, 0]
    return residual - table[codes]
