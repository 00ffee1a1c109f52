"""The fast path on CPUs: torch's matrix product proposes, csrc/residual_quantize.cpp decides.

One product z C^T scores all tokens of a tile. With a codebook shared by all levels, the scores of
the next level are those of this one less a row of the Gram matrix C C^T; with one codebook per
level, a product of the residuals gives them afresh.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.arguments import raise_not_finite
from craft_kernels.residual_quantize.codewords import Codewords
from craft_kernels.residual_quantize.matmul import matmul_transposed

# Scores of one tile. Large enough for an efficient product, small enough to stay in a cache; a tile
# has at least _MIN_TOKENS tokens, so that it exceeds this only beside a much larger codebook.
_TILE_BYTES = 32 << 20
_MIN_TOKENS, _MAX_TOKENS = 64, 1024

_of_thread = threading.local()


def residual_quantize(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    codewords: tuple[Codewords, ...],  # of all levels, or of each
    levels: int,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    tokens = z.reshape(-1, z.shape[-1])
    count, dim = tokens.shape
    codes = z.new_empty((count, levels), dtype=torch.int64)
    quantized = z.new_empty((count, dim), dtype=torch.float32)
    sq_norms = z.new_empty((count, levels), dtype=torch.float32)
    scratch = _scratch(len(codewords[0].words), dim)
    for start in range(0, count, scratch.tokens):
        rows = slice(start, start + scratch.tokens)
        tile = tokens[rows]
        residual = scratch.residual[: len(tile)].copy_(tile)
        outputs = codes[rows], quantized[rows], sq_norms[rows]
        if len(codewords) == 1:
            finite = _advance(codewords[0], 0, levels, residual, outputs, scratch)
        else:
            finite = all(
                _advance(book, level, level + 1, residual, outputs, scratch)
                for level, book in enumerate(codewords)
            )
        if not finite:
            raise_not_finite(z)
    return codes, quantized, sq_norms


class _Scratch:
    """Buffers that tiles use in turn. Memory that no tile has written to costs nothing."""

    def __init__(self, K: int, dim: int) -> None:
        self.shape = K, dim
        self.tokens = max(_MIN_TOKENS, min(_TILE_BYTES // (4 * K), _MAX_TOKENS))
        float32 = {"dtype": torch.float32, "device": "cpu"}
        self.scores = torch.empty((self.tokens, K), **float32)
        self.residual = torch.empty((self.tokens, dim), **float32)
        self.level = torch.empty(self.tokens, dtype=torch.int32, device="cpu")
        self.bound = torch.empty(self.tokens, dtype=torch.float64, device="cpu")
        self.missing = torch.empty(self.tokens, dtype=torch.int64, device="cpu")


def _scratch(K: int, dim: int) -> _Scratch:
    """This thread's buffers, kept between calls: touching fresh memory takes a fifth of a call."""
    scratch = getattr(_of_thread, "scratch", None)
    if scratch is None or scratch.shape != (K, dim):
        with torch.inference_mode(False):
            scratch = _of_thread.scratch = _Scratch(K, dim)
    return scratch


def _advance(
    book: Codewords,
    first: int,
    stop: int,
    residual: Tensor,  # [T, D] float32 at level `first`; those at level `stop` afterwards
    outputs: tuple[Tensor, Tensor, Tensor],  # codes [T, L], quantized [T, D], sq_norms [T, L]
    scratch: _Scratch,
) -> bool:
    """Takes a tile from level `first` to level `stop`; False if a residual is not finite."""
    codes, quantized, sq_norms = outputs
    count = len(residual)
    scores = matmul_transposed(residual, book.words, out=scratch.scores[:count])
    scratch.level[:count] = first
    gram = book.gram.snapshot
    while True:
        missing = native_module().advance(
            K=book.words.shape[0],
            D=book.words.shape[1],
            max_norm=book.max_norm,
            words=book.words.data_ptr(),
            half_sq_norms=book.half_sq_norms.data_ptr(),
            half_sq_norms64=book.half_sq_norms64.data_ptr(),
            T=count,
            L=codes.shape[1],
            first=first,
            stop=stop,
            scores=scores.data_ptr(),
            residual=residual.data_ptr(),
            quantized=quantized.data_ptr(),
            codes=codes.data_ptr(),
            sq_norms=sq_norms.data_ptr(),
            level=scratch.level.data_ptr(),
            bound=scratch.bound.data_ptr(),
            gram_row_at=gram.row_at.data_ptr(),
            missing=scratch.missing.data_ptr(),
            threads=torch.get_num_threads(),
        )
        if missing <= 0:
            return missing == 0
        gram = book.gram.with_rows(scratch.missing[:missing])


def residual_sq_norms_backward(
    z: Tensor,  # [N, D]
    codebook: Tensor,  # [K, D] or [L, K, D] float32, contiguous
    codes: Tensor,  # [N, L] int64
    grad_sq_norms: Tensor,  # [N, L] float32
    grad_quantized: Tensor | None,  # [N, D]
) -> Tensor:  # [N, D] float32
    residual = z.new_empty(z.shape, dtype=torch.float32).copy_(z)
    grad = z.new_zeros(z.shape, dtype=torch.float32)
    if grad_quantized is not None:
        grad.copy_(grad_quantized)
    native_module().add_sq_norms_gradient(
        words=codebook.data_ptr(),
        level_stride=0 if codebook.ndim == 2 else codebook.stride(0),
        D=z.shape[1],
        T=z.shape[0],
        L=codes.shape[1],
        codes=codes.data_ptr(),
        grad_sq_norms=grad_sq_norms.data_ptr(),
        residual=residual.data_ptr(),
        grad=grad.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return grad
