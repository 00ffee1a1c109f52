"""What the GPU kernels need of a codebook beyond its Codewords.

Each part is made when first needed and kept as long as the codewords live.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from craft_kernels.residual_quantize.codewords import Codewords
from craft_kernels.residual_quantize.precision import PRECISIONS, Precision

_made: weakref.WeakKeyDictionary[Codewords, DeviceWords] = weakref.WeakKeyDictionary()


class DeviceWords:
    """Norms, product operands and the Gram matrix of one level's codewords."""

    def __init__(self, book: Codewords) -> None:
        self._words = book.words
        norms = torch.linalg.vector_norm(book.words, dim=-1, dtype=torch.float64)
        self.half_sq_norms64 = norms.square().mul_(0.5)  # [K]
        self.half_sq_norms = self.half_sq_norms64.float()  # [K]
        # Slightly above the true maximum, to cover the rounding of the norms, and components that
        # are read as zero if denormals are flushed.
        self.max_norm = norms.max().item() * (1 + 1e-6) + book.words.shape[1] ** 0.5 * 2.0**-126
        self._operands: dict[Precision, tuple[Tensor, Tensor]] = {}
        self._gram: tuple[Precision, Tensor] | None = None

    def operand(self, precision: Precision) -> tuple[Tensor, Tensor]:  # [K, D], [3] float64
        """The codewords in the product's format, and the limits max_norm, max_error and relative of
        triton/score_bound.py."""
        if precision not in self._operands:
            words, error = self._words, 0.0
            if precision.rounded:
                words = self._words.to(torch.bfloat16)
                lost = self._words.double() - words.double()
                error = lost.norm(dim=1).max().item() * (1 + 1e-6)
            relative = precision.relative_error(words.shape[1])
            limits = torch.tensor([self.max_norm, error, relative], dtype=torch.float64)
            self._operands[precision] = words, limits.to(words.device)
        return self._operands[precision]

    def gram(self) -> Tensor:  # [K, K] float32
        """C C^T in torch.mm's current precision, that of the scores it is subtracted from."""
        precision = matmul_precision()
        if self._gram is None or self._gram[0] != precision:
            gram = self._words.new_empty((len(self._words),) * 2)
            self._gram = precision, torch.mm(self._words, self._words.t(), out=gram)
        return self._gram[1]


class StackedWords(NamedTuple):
    """What the fused path reads: B codebooks in a row, B = 1 if all levels share one."""

    words: Tensor  # [B, K, D] float32
    operands: Tensor  # [B, K, D] float32 or bfloat16
    half_sq_norms: Tensor  # [B, K] float32
    half_sq_norms64: Tensor  # [B, K]
    limits: Tensor  # [B, 3] float64


_stacked: weakref.WeakKeyDictionary[Codewords, dict[Precision, StackedWords]]
_stacked = weakref.WeakKeyDictionary()


def stacked_words(codewords: tuple[Codewords, ...], precision: Precision) -> StackedWords:
    """The stacked form, kept as long as the first level's codewords live."""
    made = _stacked.setdefault(codewords[0], {})
    if precision not in made:
        books = [device_words(book) for book in codewords]
        operands, limits = zip(*(book.operand(precision) for book in books), strict=True)
        words = _stack([book.words for book in codewords])
        made[precision] = StackedWords(
            words,
            _stack(operands) if precision.rounded else words,
            _stack([book.half_sq_norms for book in books]),
            _stack([book.half_sq_norms64 for book in books]),
            _stack(limits),
        )
    return made[precision]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors stacked; a single one is viewed, not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def device_words(book: Codewords) -> DeviceWords:
    if book not in _made:
        _made[book] = DeviceWords(book)
    return _made[book]


def matmul_precision() -> Precision:
    """The precision of torch.mm on float32, which the user may have lowered; the bound follows."""
    lowered = torch.backends.cuda.matmul.fp32_precision not in ("none", "ieee")
    return PRECISIONS["tf32" if lowered else "ieee"]
