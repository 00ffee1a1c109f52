"""The Gram path on an NVIDIA GPU, in CUDA C++ (csrc/cuda/gram_walk.cu).

torch.mm computes the scores; then one thread block per token keeps its row of scores on chip for
all levels.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from craft_kernels.backends import cuda_module
from craft_kernels.residual_quantize.codewords import Codewords
from craft_kernels.residual_quantize.device_words import device_words, matmul_precision
from craft_kernels.residual_quantize.gpu_tiles import quantize_in_tiles
from craft_kernels.residual_quantize.precision import PRECISIONS
from craft_kernels.triton_target import on_device

# TF32 keeps 11 bits of an operand, truncated at worst; doubled for safety.
_TF32_ROUNDING = 2.0**-9


def residual_quantize(
    z: Tensor,  # [..., D] float32, bfloat16 or float16; N tokens
    codewords: tuple[Codewords, ...],  # one shared by all levels, or one per level
    levels: int,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, L] int64, [N, D] float32, [N, L] float32
    check_gram_possible(codewords, levels)
    book = codewords[0]
    with on_device(z):
        return quantize_in_tiles(z, levels, len(book.words), functools.partial(_walk, book))


def check_gram_possible(codewords: tuple[Codewords, ...], levels: int) -> None:
    book, most = codewords[0], cuda_module().GRAM_WALK_MAX_K
    K = len(book.words)
    if len(codewords) > 1:
        why = f"a codebook shared by all levels, and there are {len(codewords)}"
    elif most < K:
        why = f"K <= {most}, and the codebook has K = {K}"
    elif levels > 1 and book.gram_bytes < 4 * K * K:
        why = (
            f"room for the Gram matrix, gram_bytes >= {4 * K * K}, and the codebook has "
            f"gram_bytes = {book.gram_bytes}"
        )
    else:
        return
    raise ValueError(f"impl='cuda' has only the Gram path, which needs {why}: use impl='triton'")


def _walk(
    book: Codewords,
    residual: Tensor,  # [T, D]
    quantized: Tensor,  # [T, D]
    codes: Tensor,  # [T, L]
    sq_norms: Tensor,  # [T, L]
) -> None:
    K, dim = book.words.shape
    shared, precision = device_words(book), matmul_precision()
    products = residual.new_empty((len(residual), K))
    torch.mm(residual, book.words.t(), out=products)  # autocast leaves the out= form alone
    cuda_module().gram_walk(
        N=len(residual),
        K=K,
        D=dim,
        L=codes.shape[1],
        words=book.words.data_ptr(),
        half_sq_norms=shared.half_sq_norms.data_ptr(),
        half_sq_norms64=shared.half_sq_norms64.data_ptr(),
        gram=shared.gram().data_ptr() if codes.shape[1] > 1 else 0,
        products=products.data_ptr(),
        max_norm=shared.max_norm,
        product_unit=precision.sum,
        rounding=0.0 if precision is PRECISIONS["ieee"] else _TF32_ROUNDING,
        residual=residual.data_ptr(),
        quantized=quantized.data_ptr(),
        codes=codes.data_ptr(),
        sq_norms=sq_norms.data_ptr(),
        stream=torch.cuda.current_stream(residual.device).cuda_stream,
    )


def residual_sq_norms_backward(
    z: Tensor,  # [N, D]
    codebook: Tensor,  # [K, D] or [L, K, D] float32, contiguous
    codes: Tensor,  # [N, L] int64
    grad_sq_norms: Tensor,  # [N, L] float32
    grad_quantized: Tensor | None,  # [N, D]
) -> Tensor:  # [N, D] float32
    z = z.float().contiguous()
    grad = torch.zeros_like(z)
    if grad_quantized is not None:
        grad.copy_(grad_quantized)
    if not z.numel():
        return grad
    with on_device(z):
        cuda_module().add_sq_norms_gradient(
            N=z.shape[0],
            D=z.shape[1],
            L=codes.shape[1],
            level_stride=0 if codebook.ndim == 2 else codebook.stride(0),
            z=z.data_ptr(),
            words=codebook.data_ptr(),
            codes=codes.data_ptr(),
            grad_sq_norms=grad_sq_norms.data_ptr(),
            grad=grad.data_ptr(),
            stream=torch.cuda.current_stream(z.device).cuda_stream,
        )
    return grad
