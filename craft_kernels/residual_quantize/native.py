"""The fast path on CPUs: screening proposes, csrc/residual_quantize.cpp decides.

A matrix product scores all tokens of a tile. With a codebook shared by all levels, the scores of
the next level are those of this one less a row of the Gram matrix C C^T; with one codebook per
level, a product of the residuals gives them afresh.
"""

from __future__ import annotations

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.arguments import raise_not_finite
from craft_kernels.residual_quantize.codewords import Codewords, PackedCodewords
from craft_kernels.residual_quantize.tile import Tile, tile_of_thread


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
    books = [level.packed() for level in codewords]
    tile = tile_of_thread("tokens", len(codewords[0].words), dim)
    for start in range(0, count, tile.tokens):
        rows = slice(start, start + tile.tokens)
        screen = tile.holding(tokens[rows])
        outputs = codes[rows], quantized[rows], sq_norms[rows]
        if len(books) == 1:
            finite = _advance(books[0], 0, levels, tile, screen, outputs)
        else:
            finite = all(
                _advance(book, level, level + 1, tile, screen, outputs)
                for level, book in enumerate(books)
            )
        if not finite:
            raise_not_finite(z)
    return codes, quantized, sq_norms


def _advance(
    book: PackedCodewords,
    first: int,
    stop: int,
    tile: Tile,
    screen,  # the native tile; residuals at level `first`, those at level `stop` afterwards
    outputs: tuple[Tensor, Tensor, Tensor],  # codes [T, L], quantized [T, D], sq_norms [T, L]
) -> bool:
    """Takes a tile from level `first` to level `stop`; False if a residual is not finite."""
    native, threads = native_module(), torch.get_num_threads()
    codes, quantized, sq_norms = outputs
    native.screen(book.native, screen, threads=threads)
    tile.state[: len(codes), 0] = first
    gram = book.gram.snapshot
    while True:
        missing = native.advance(
            book.native,
            screen,
            L=codes.shape[1],
            first=first,
            stop=stop,
            quantized=quantized.data_ptr(),
            codes=codes.data_ptr(),
            sq_norms=sq_norms.data_ptr(),
            state=tile.state.data_ptr(),
            gram_row_at=gram.row_at.data_ptr(),
            missing=tile.missing.data_ptr(),
            threads=threads,
        )
        if missing <= 0:
            return missing == 0
        gram = book.gram.with_rows(tile.missing[:missing])


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
