"""Gradients: straight through for the quantised sum, 2 r_l for the squared residual norms."""

from __future__ import annotations

import torch
from torch import Tensor


class ResidualQuantizeFunction(torch.autograd.Function):
    """With the codes held fixed, d quantized / dz = I (the straight-through estimator, on the sum)
    and d|r_l|^2 / dz = 2 r_l. The residuals are gone through again from z and the codes, so nothing
    of size [N, L, D] is kept. The codebook gets no gradient."""

    @staticmethod
    def forward(ctx, z, codebook, levels, handle, impl):
        ctx.set_materialize_grads(False)
        codes, quantized, sq_norms = torch.ops.craft.residual_quantize.default(
            z, codebook, levels, handle, impl
        )
        ctx.mark_non_differentiable(codes)
        ctx.save_for_backward(z, codebook, codes)
        ctx.impl = impl
        return codes, quantized, sq_norms

    @staticmethod
    def backward(  # type: ignore[override]
        ctx,
        grad_codes: None,
        grad_quantized: Tensor | None,  # [..., D]
        grad_sq_norms: Tensor | None,  # [..., L]
    ):
        grad_z = grad_quantized
        if grad_sq_norms is not None:
            z, codebook, codes = ctx.saved_tensors
            grad_z = torch.ops.craft.residual_sq_norms_backward.default(
                z, codebook, codes, grad_sq_norms, grad_quantized, ctx.impl
            )
        return grad_z, None, None, None, None
