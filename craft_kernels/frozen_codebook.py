"""An immutable codebook that keeps what quantisation calls can share."""

from __future__ import annotations

import functools
import itertools
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor

from craft_kernels.residual_quantize.arguments import check_codebook, check_levels
from craft_kernels.residual_quantize.codewords import (
    DEFAULT_GRAM_BYTES,
    Codewords,
    codewords_of_levels,
)

_handles = itertools.count(1)
_alive: weakref.WeakValueDictionary[int, FrozenCodebook] = weakref.WeakValueDictionary()


class FrozenCodebook:
    """A float32 copy of a codebook, with its norms and the Gram rows that calls have needed so far.

    Args:
        codebook: [K, D], shared by all levels, or [L, K, D], one per level; float32, bfloat16 or
            float16, finite. It is copied: later changes to it have no effect here.
        levels: the default number of levels of a call. For a codebook [K, D] it must be given
            either here or in the call; for a codebook [L, K, D] it is L.
        gram_bytes: how much memory the rows of the Gram matrix C C^T of a shared codebook may take
            (about K * K * 2 bytes hold them all). Rows are computed when first needed, and the
            oldest are dropped first. A smaller budget costs time, never exactness.

    Several threads may use one object at once.

    The codewords never change, so the codes never change either: no attribute exposes the memory
    that calls read. `tensor` is a copy, and pickling and `multiprocessing` also take a copy, so
    writing to it through torch, `.data`, `.numpy()` or its storage has no effect here. Code that
    uses private attributes, or that writes to the process's memory from outside Python, is not
    prevented: after an in-place torch operation on them the next call raises ValueError; any other
    write goes unnoticed.

    Raises:
        ValueError: the codebook or the number of levels cannot be used; the message says what to
            do.
    """

    def __init__(
        self,
        codebook: Tensor,  # [K, D] or [L, K, D]
        levels: int | None = None,
        *,
        gram_bytes: int = DEFAULT_GRAM_BYTES,
    ) -> None:
        codebook = check_codebook(codebook)
        if levels is not None or codebook.ndim == 3:
            levels = check_levels(codebook, levels)
        if gram_bytes < 0:
            raise ValueError(f"gram_bytes must be >= 0, got {gram_bytes}")
        with torch.inference_mode(False), torch.no_grad():
            copy = codebook.new_empty(codebook.shape, dtype=torch.float32).copy_(codebook)
            self._codewords = codewords_of_levels(copy, gram_bytes)
        self._tensor = copy
        self._version = copy._version
        self._levels = levels
        self._gram_bytes = gram_bytes
        self._handle = next(_handles)
        _alive[self._handle] = self

    @property
    def tensor(self) -> Tensor:  # [K, D] or [L, K, D] float32
        """A copy of the codewords."""
        return self._tensor.clone()

    @property
    def shape(self) -> torch.Size:
        return self._tensor.shape

    @property
    def device(self) -> torch.device:
        return self._tensor.device

    def words(
        self,
        codes: Tensor,  # [...] int64
        level: int = 0,
    ) -> Tensor:  # [..., D] float32
        """The codewords that codes of one level stand for; IndexError for a code outside [0, K)."""
        table = self._tensor if self._tensor.ndim == 2 else self._tensor[level]
        return F.embedding(codes, table)

    @property
    def levels(self) -> int | None:
        return self._levels

    @property
    def gram_nbytes(self) -> int:
        """How many bytes of Gram rows are held at the moment."""
        return sum(codewords.gram_nbytes for codewords in self._codewords)

    @property
    def handle(self) -> int:
        """A number that stands for this object in a torch op, which cannot take the object."""
        return self._handle

    def __reduce__(self):
        rebuild = functools.partial(FrozenCodebook, gram_bytes=self._gram_bytes)
        # A copy, because multiprocessing moves the memory of the tensors it is given.
        return rebuild, (self.tensor, self._levels)

    def __repr__(self) -> str:
        return (
            f"FrozenCodebook(shape={tuple(self.shape)}, levels={self._levels}, "
            f"gram_nbytes={self.gram_nbytes})"
        )


def codewords_for(
    handle: int,
    codebook: Tensor,  # [K, D] or [L, K, D]
) -> tuple[Codewords, ...]:
    """The codewords that an op call works with.

    Those of the FrozenCodebook `handle` if it is alive and `codebook` is its tensor. Otherwise, for
    a plain tensor or in a program that was loaded elsewhere, they are made for this call alone.
    """
    frozen = _alive.get(handle)
    if frozen is None or frozen._tensor.data_ptr() != codebook.data_ptr():
        return codewords_of_levels(codebook)
    if frozen._tensor._version != frozen._version:
        raise ValueError(
            "codebook is a FrozenCodebook whose tensor was written to in place; make a new one "
            "from the changed values instead"
        )
    return frozen._codewords
