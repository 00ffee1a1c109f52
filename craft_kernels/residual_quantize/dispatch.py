"""The bodies of the quantisation ops: they choose an implementation and restore the shape."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor

from craft_kernels.backends import resolve_impl
from craft_kernels.frozen_codebook import codewords_for
from craft_kernels.residual_quantize import cuda, native, reference


def _triton() -> ModuleType:
    return importlib.import_module("craft_kernels.residual_quantize.triton.launch")


def residual_quantize(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    levels: int,
    handle: int,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:  # [..., L] int64, [..., D] z.dtype, [..., L] float32
    z = z.detach()  # cheaper than no_grad, and nothing else here can require grad
    codewords = codewords_for(handle, codebook)
    resolved = resolve_impl(impl, z)
    if resolved == "native":
        result = native.residual_quantize(z, codewords, levels)
    elif resolved == "triton":
        result = _triton().residual_quantize(z, codewords, levels, frozen=handle != 0)
    elif resolved == "cuda":
        result = cuda.residual_quantize(z, codewords, levels)
    else:
        result = reference.residual_quantize(z, codebook, levels)
    codes, quantized, sq_norms = result
    if quantized.dtype != z.dtype:
        quantized = quantized.to(z.dtype)
    if z.ndim == 2:
        return codes, quantized, sq_norms
    # Views, but not marked as such, because an op's outputs must be writable in place. Nothing else
    # refers to the tensors that are viewed.
    reshaped = torch.ops.aten._unsafe_view.default
    shape = z.shape[:-1]
    return (
        reshaped(codes, (*shape, levels)),
        reshaped(quantized, z.shape),
        reshaped(sq_norms, (*shape, levels)),
    )


@torch.no_grad()
def residual_sq_norms_backward(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    codes: Tensor,  # [..., L] int64
    grad_sq_norms: Tensor,  # [..., L] float32
    grad_quantized: Tensor | None,  # [..., D]
    impl: str,
) -> Tensor:  # [..., D] z.dtype
    dim, levels = z.shape[-1], codes.shape[-1]
    resolved = resolve_impl(impl, z)
    if resolved == "triton":
        backend = _triton()
    else:
        backend = {"native": native, "cuda": cuda, "reference": reference}[resolved]
    grad = backend.residual_sq_norms_backward(
        z.reshape(-1, dim),
        codebook.float().contiguous(),
        codes.reshape(-1, levels).contiguous(),
        grad_sq_norms.reshape(-1, levels).contiguous(),
        None if grad_quantized is None else grad_quantized.reshape(-1, dim),
    )
    return grad.to(z.dtype).reshape(z.shape)
