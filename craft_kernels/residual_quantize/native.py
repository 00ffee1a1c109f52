"""The fast path on CPUs: screening proposes codewords, csrc/nearest.h decides.

A matrix product scores all tokens of a tile. If all levels share a codebook, the scores of the next
level are those of the current one minus a row of the Gram matrix C C^T, wherever reading a row is
cheaper than another product. Otherwise every level is a product whose scores are not kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.arguments import raise_not_finite
from craft_kernels.residual_quantize.codewords import Codewords, PackedCodewords
from craft_kernels.residual_quantize.forced_path import forced_path
from craft_kernels.residual_quantize.tile import ScoreTile, ShortlistTile, tile_of_thread


def residual_quantize(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    codewords: tuple[Codewords, ...],  # one shared by all levels, or one per level
    levels: int,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    tokens = z if z.ndim == 2 else z.reshape(-1, z.shape[-1])
    count, dim = tokens.shape
    codes = z.new_empty((count, levels), dtype=torch.int64)
    quantized = z.new_empty((count, dim), dtype=torch.float32)
    sq_norms = z.new_empty((count, levels), dtype=torch.float32)
    books = [level.packed() for level in codewords]
    kind = ScoreTile if _gram_rows_pay(len(books), levels, dim) else ShortlistTile
    tile = tile_of_thread(kind, len(codewords[0].words), dim)
    for start in range(0, count, tile.tokens):
        size = min(tile.tokens, count - start)
        shared = {
            "T": size,
            "source": tile.source(tokens, start, size),
            "L": levels,
            "codes": codes.data_ptr() + 8 * start * levels,
            "quantized": quantized.data_ptr() + 4 * start * dim,
            "sq_norms": sq_norms.data_ptr() + 4 * start * levels,
            "threads": torch.get_num_threads(),
        }
        if isinstance(tile, ShortlistTile):
            finite = _quantize_by_products(books, tile, shared)
        else:
            finite = _quantize_by_gram_rows(books[0], tile, shared)
        if not finite:
            raise_not_finite(z)
    return codes, quantized, sq_norms


def _gram_rows_pay(books: int, levels: int, dim: int) -> bool:
    forced = forced_path()
    if forced == "gram" and books > 1:
        raise ValueError(
            "CRAFT_KERNELS_PATH is gram, but that path needs one codebook shared by all levels, "
            f"and there are {books}; unset it"
        )
    if forced:
        return forced == "gram"
    return books == 1 and levels > 1 and dim > native_module().product_depth()


def _quantize_by_products(
    books: list[PackedCodewords],
    tile: ShortlistTile,
    shared: dict[str, int],  # the arguments that both paths take
) -> bool:
    """Quantise a tile; False if a residual is not finite."""
    return native_module().quantize_by_products(
        [book.native for book in books],
        tile.native,
        parts=tile.parts(shared["T"], shared["threads"]),
        lists=tile.lists.data_ptr(),
        candidates=tile.candidates.data_ptr(),
        **shared,
    )


def _quantize_by_gram_rows(
    book: PackedCodewords,
    tile: ScoreTile,
    shared: dict[str, int],  # the arguments that both paths take
) -> bool:
    """Quantise a tile; False if a residual is not finite."""
    native, gram, fresh = native_module(), book.gram.snapshot, True
    while True:
        missing = native.quantize_by_gram_rows(
            book.native,
            tile.native,
            fresh=fresh,
            scores=tile.scores.data_ptr(),
            maxima=tile.maxima.data_ptr(),
            state=tile.state.data_ptr(),
            gram_row_at=gram.row_at.data_ptr(),
            missing=tile.missing.data_ptr(),
            **shared,
        )
        if missing <= 0:
            return missing == 0
        gram, fresh = book.gram.with_rows(tile.missing[:missing]), False


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
