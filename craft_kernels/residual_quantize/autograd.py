"""Derivatives: straight through for the quantised sum, those of |r_l|^2 for the squared norms.

With the codes held fixed, d quantized = dz (the straight-through estimator, on the sum) and
d |r_l|^2 = 2 <r_l, dz>. Both modes and all orders follow; the codebook is a constant. The residuals
are gone through again from z and the codes, so nothing of size [N, L, D] is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def differentiated(z: Tensor) -> bool:
    """Whether anybody may be after derivatives of what comes of z. Inside torch.func's transforms
    a tensor does not tell."""
    if z.requires_grad and torch.is_grad_enabled():
        return True
    if torch._C._are_functorch_transforms_active():
        return True
    return forward_ad.unpack_dual(z).tangent is not None


class ResidualQuantizeFunction(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z, codebook, levels, handle, impl):
        return torch.ops.craft.residual_quantize.default(z, codebook, levels, handle, impl)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, codebook, _, _, ctx.impl = inputs
        codes = output[0]
        ctx.mark_non_differentiable(codes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, codebook, codes)
        ctx.save_for_forward(z, codebook, codes)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx,
        grad_codes: None,
        grad_quantized: Tensor | None,  # [..., D]
        grad_sq_norms: Tensor | None,  # [..., L]
    ):
        if ctx.needs_input_grad[1]:
            raise ValueError(CODEBOOK_IS_FROZEN)
        grad_z = grad_quantized
        if grad_sq_norms is not None:
            z, codebook, codes = ctx.saved_tensors
            grad_z = SqNormsGradientFunction.apply(
                z, codebook, codes, grad_sq_norms, grad_quantized, ctx.impl
            )
        return grad_z, None, None, None, None

    @staticmethod
    def jvp(ctx, z_tangent, codebook_tangent, *_):  # type: ignore[override]
        if codebook_tangent is not None:
            raise ValueError(CODEBOOK_IS_FROZEN)
        z, codebook, codes = ctx.saved_tensors
        # A copy, so that writing to one of the tangents leaves the other alone.
        return None, z_tangent.clone(), _sq_norms_along(z, codebook, codes, z_tangent)


class SqNormsGradientFunction(torch.autograd.Function):
    """grad_quantized + sum over l of 2 grad_sq_norms[..., l] r_l, which is the gradient of the
    above, and can be differentiated itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z, codebook, codes, grad_sq_norms, grad_quantized, impl):
        return torch.ops.craft.residual_sq_norms_backward.default(
            z, codebook, codes, grad_sq_norms, grad_quantized, impl
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, codebook, codes, grad_sq_norms, grad_quantized, ctx.impl = inputs
        ctx.adds = grad_quantized is not None
        ctx.save_for_backward(z, codebook, codes, grad_sq_norms)
        ctx.save_for_forward(z, codebook, codes, grad_sq_norms)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        z, codebook, codes, grad_sq_norms = ctx.saved_tensors
        return (
            _along_all_levels(grad_sq_norms, grad),
            None,
            None,
            _sq_norms_along(z, codebook, codes, grad),
            grad if ctx.adds else None,
            None,
        )

    @staticmethod
    def jvp(ctx, z_tangent, _, __, sq_norms_tangent, quantized_tangent, ___):  # type: ignore[override]
        z, codebook, codes, grad_sq_norms = ctx.saved_tensors
        tangent = torch.zeros_like(z)
        if sq_norms_tangent is not None:
            tangent = SqNormsGradientFunction.apply(
                z, codebook, codes, sq_norms_tangent, None, ctx.impl
            )
        if z_tangent is not None:
            tangent = tangent + _along_all_levels(grad_sq_norms, z_tangent)
        if quantized_tangent is not None:
            tangent = tangent + quantized_tangent
        return tangent


CODEBOOK_IS_FROZEN = (
    "a derivative with respect to codebook was asked for, but the codebook is frozen and never "
    "gets a gradient: differentiate with respect to z"
)


def _sq_norms_along(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    codes: Tensor,  # [..., L] int64
    direction: Tensor,  # [..., D]
) -> Tensor:  # [..., L] float32
    """2 <r_l, direction>, in torch's own differentiable operations."""
    residual, direction = z.float(), direction.float()
    along = []
    for level in range(codes.shape[-1]):
        words = codebook if codebook.ndim == 2 else codebook[level]
        residual = residual - words[codes[..., level]].float()
        along.append(2 * (residual * direction).sum(-1))
    return torch.stack(along, -1)


def _along_all_levels(
    grad_sq_norms: Tensor,  # [..., L] float32
    direction: Tensor,  # [..., D]
) -> Tensor:  # [..., D] direction.dtype
    """How the gradient of sum_l grad_sq_norms[l] |r_l|^2 changes when z moves in a direction."""
    return (2 * grad_sq_norms.sum(-1, keepdim=True) * direction).to(direction.dtype)
