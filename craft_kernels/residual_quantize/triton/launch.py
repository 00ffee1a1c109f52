"""From tensors to kernel launches: the plan, and the launches for a tile of tokens."""

# A launch accepts compiler options that are not parameters of the kernel.
# pyright: reportCallIssue=false

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

from craft_kernels.residual_quantize.codewords import Codewords
from craft_kernels.residual_quantize.device_words import (
    device_words,
    matmul_precision,
    stacked_words,
)
from craft_kernels.residual_quantize.gpu_tiles import quantize_in_tiles
from craft_kernels.residual_quantize.precision import PRECISIONS, Precision
from craft_kernels.residual_quantize.triton import plan as planning
from craft_kernels.residual_quantize.triton.fused import fused_levels
from craft_kernels.residual_quantize.triton.gradient import add_sq_norms_gradient
from craft_kernels.residual_quantize.triton.gram_walk import gram_walk
from craft_kernels.residual_quantize.triton.streaming import screen, settle
from craft_kernels.triton_target import (
    ceil_div,
    current_target,
    next_power_of_2,
    on_device,
)

_log = logging.getLogger("craft_kernels")
GROUP = 16  # how many codewords share one stored score, the greatest of theirs


def residual_quantize(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    codewords: tuple[Codewords, ...],  # one shared by all levels, or one per level
    levels: int,
    frozen: bool,  # whether the codewords outlive the call
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    dim = z.shape[-1]
    count, K = z.numel() // dim, len(codewords[0].words)
    with on_device(z):
        plan = make_plan(codewords, count, levels, frozen)
        _log.debug("residual_quantize N=%d K=%d D=%d L=%d: %s", count, K, dim, levels, plan)
        scores_of_token = {"gram": K, "streaming": ceil_div(K, GROUP), "fused": 0}[plan.path]
        if plan.path == "gram":
            quantize = functools.partial(_gram, codewords[0])
        elif plan.path == "fused":
            quantize = functools.partial(_fuse, codewords, PRECISIONS[plan.precision])
        else:
            precision = PRECISIONS[plan.precision]
            quantize = functools.partial(_stream, codewords, precision, plan.precision)
        return quantize_in_tiles(z, levels, scores_of_token, quantize)


def make_plan(
    codewords: tuple[Codewords, ...], count: int, levels: int, frozen: bool
) -> planning.Plan:
    K, dim = codewords[0].words.shape
    fits = codewords[0].gram_bytes >= 4 * K * K
    gram_allowed = frozen and len(codewords) == 1 and fits
    return planning.choose(current_target(), count, K, dim, levels, gram_allowed)


def _gram(
    book: Codewords,
    residual: Tensor,  # [T, D]
    quantized: Tensor,  # [T, D]
    codes: Tensor,  # [T, L]
    sq_norms: Tensor,  # [T, L]
) -> None:
    K, dim = book.words.shape
    shared = device_words(book)
    _, limits = shared.operand(matmul_precision())
    products = residual.new_empty((len(residual), K))
    torch.mm(residual, book.words.t(), out=products)  # autocast leaves the out= form alone
    block_k = next_power_of_2(K)
    gram_walk[(len(residual),)](
        residual,
        quantized,
        codes,
        sq_norms,
        book.words,
        shared.half_sq_norms,
        shared.half_sq_norms64,
        shared.gram(),
        limits,
        products,
        K,
        dim,
        codes.shape[1],
        BLOCK_K=block_k,
        BLOCK_D=_row_block(dim, 512),
        num_warps=min(8, max(4, block_k // 2048)),
    )


def _fuse(
    codewords: tuple[Codewords, ...],
    precision: Precision,
    residual: Tensor,  # [T, D]
    quantized: Tensor,  # [T, D]
    codes: Tensor,  # [T, L]
    sq_norms: Tensor,  # [T, L]
) -> None:
    (count, dim), target = residual.shape, current_target()
    tiles = planning.fused_tiles(target, dim)
    assert tiles is not None  # or the plan would have been another
    books = stacked_words(codewords, precision)
    # Unless told otherwise, ptxas limits itself to 128 registers and spills.
    limit = {"maxnreg": 255} if target[0] == "cuda" else {}
    fused_levels[(ceil_div(count, tiles.BLOCK_N),)](
        residual,
        quantized,
        codes,
        sq_norms,
        *books,
        count,
        len(codewords[0].words),
        dim,
        codes.shape[1],
        len(codewords),
        PRECISION=precision.dot,
        ROUNDED=precision.rounded,
        BLOCK_N=tiles.BLOCK_N,
        BLOCK_K=tiles.BLOCK_K,
        BLOCK_D=tiles.BLOCK_D,
        num_warps=tiles.num_warps,
        num_stages=tiles.num_stages,
        **limit,
    )


def _stream(
    codewords: tuple[Codewords, ...],
    precision: Precision,
    name: str,
    residual: Tensor,  # [T, D]
    quantized: Tensor,  # [T, D]
    codes: Tensor,  # [T, L]
    sq_norms: Tensor,  # [T, L]
) -> None:
    (count, dim), levels = residual.shape, codes.shape[1]
    K = len(codewords[0].words)
    groups = ceil_div(K, GROUP)
    tiles = planning.tiles(current_target(), name, dim)
    operand = residual.to(torch.bfloat16) if precision.rounded else residual
    maxima = residual.new_empty((count, groups))
    for level in range(levels):
        book = codewords[level if len(codewords) > 1 else 0]
        on_gpu = device_words(book)
        words, limits = on_gpu.operand(precision)
        screen[(ceil_div(count, tiles.BLOCK_N) * ceil_div(K, tiles.BLOCK_K),)](
            operand,
            words,
            on_gpu.half_sq_norms,
            maxima,
            count,
            K,
            dim,
            groups,
            PRECISION=precision.dot,
            GROUP=GROUP,
            BLOCK_N=tiles.BLOCK_N,
            BLOCK_K=tiles.BLOCK_K,
            BLOCK_D=tiles.BLOCK_D,
            num_warps=tiles.num_warps,
            num_stages=tiles.num_stages,
        )
        settle[(count,)](
            residual,
            operand,
            quantized,
            codes,
            sq_norms,
            book.words,
            on_gpu.half_sq_norms64,
            limits,
            maxima,
            level,
            K,
            dim,
            groups,
            levels,
            ROUNDED=precision.rounded,
            GROUP=GROUP,
            BLOCK_G=min(1024, next_power_of_2(groups)),
            BLOCK_D=_row_block(dim, 64),
            num_warps=planning.settle_warps(current_target(), name),
        )


def residual_sq_norms_backward(
    z: Tensor,  # [N, D]
    codebook: Tensor,  # [K, D] or [L, K, D] float32, contiguous
    codes: Tensor,  # [N, L] int64
    grad_sq_norms: Tensor,  # [N, L] float32
    grad_quantized: Tensor | None,  # [N, D]
) -> Tensor:  # [N, D] float32
    count, dim = z.shape
    z = z.contiguous()
    grad = z.new_empty(z.shape, dtype=torch.float32)
    BLOCK_N, BLOCK_D = 16, min(128, next_power_of_2(dim))
    if count:
        with on_device(z):
            add_sq_norms_gradient[(ceil_div(count, BLOCK_N), ceil_div(dim, BLOCK_D))](
                z,
                codebook,
                codes,
                grad_sq_norms,
                z if grad_quantized is None else grad_quantized.contiguous(),
                grad,
                count,
                dim,
                codes.shape[1],
                0 if codebook.ndim == 2 else codebook.stride(0),
                ADD=grad_quantized is not None,
                BLOCK_N=BLOCK_N,
                BLOCK_D=BLOCK_D,
                num_warps=4,
                enable_fp_fusion=False,
            )
    return grad


def _row_block(dim: int, most: int) -> int:
    """How many components of a token a program handles at a time."""
    if current_target()[0] == "interpreter":  # which pays per operation, not per element
        most = 4096
    return min(most, max(16, next_power_of_2(dim)))
