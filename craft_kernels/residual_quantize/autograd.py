"""Derivatives: straight-through for the quantised sum, those of |r_l|^2 for the squared norms.

With the codes held fixed, d quantized = dz (the straight-through estimator, on the sum) and
d |r_l|^2 = 2 <r_l, dz>. The codebook is a constant. Backward passes use our own kernels; forward
mode and the transforms of torch.func use torch's differentiable operations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

Outputs = tuple[Tensor, Tensor, Tensor]  # [..., L] int64, [..., D] z.dtype, [..., L] float32


def quantize_differentiably(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    levels: int,
    handle: int,
    impl: str,
) -> Outputs:
    """The op, with derivatives if the caller may ask for them."""
    # Inside a transform of torch.func, a tensor does not show whether it is being differentiated.
    if (
        torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(z).tangent is not None
        or forward_ad.unpack_dual(codebook).tangent is not None
    ):
        return _in_torch_operations(z, codebook, levels, handle, impl)
    if z.requires_grad and torch.is_grad_enabled():
        return ResidualQuantizeFunction.apply(z, codebook, levels, handle, impl)
    return torch.ops.craft.residual_quantize.default(z, codebook, levels, handle, impl)


class ResidualQuantizeFunction(torch.autograd.Function):
    """Recomputes the residuals from z and the codes, so that nothing of size [N, L, D] is kept."""

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
            grad_z = SqNormsGradientFunction.apply(
                z, codebook, codes, grad_sq_norms, grad_quantized, ctx.impl
            )
        return grad_z, None, None, None, None


class SqNormsGradientFunction(torch.autograd.Function):
    """The backward pass, grad_quantized + sum over l of 2 grad_sq_norms[..., l] r_l.

    It can itself be differentiated, any number of times.
    """

    @staticmethod
    def forward(ctx, z, codebook, codes, grad_sq_norms, grad_quantized, impl):
        ctx.save_for_backward(z, codebook, codes, grad_sq_norms)
        ctx.adds = grad_quantized is not None
        return torch.ops.craft.residual_sq_norms_backward.default(
            z, codebook, codes, grad_sq_norms, grad_quantized, impl
        )

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        z, codebook, codes, grad_sq_norms = ctx.saved_tensors
        towards_z = (2 * grad_sq_norms.sum(-1, keepdim=True) * grad).to(z.dtype)
        along = [
            2 * (residual * grad.float()).sum(-1) for residual in _residuals(z, codebook, codes)
        ]
        return towards_z, None, None, torch.stack(along, -1), grad if ctx.adds else None, None


def _residuals(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    codes: Tensor,  # [..., L] int64
) -> list[Tensor]:  # L of [..., D] float32
    residuals = [z.float()]
    for level in range(codes.shape[-1]):
        words = codebook if codebook.ndim == 2 else codebook[level]
        residuals.append(residuals[-1] - words[codes[..., level]].float())
    return residuals[1:]


def _in_torch_operations(
    z: Tensor,  # [..., D]
    codebook: Tensor,  # [K, D] or [L, K, D]
    levels: int,
    handle: int,
    impl: str,
) -> Outputs:
    """The op's values, with every kind of derivative that torch offers."""
    codes, quantized, sq_norms = torch.ops.craft.residual_quantize.default(
        z.detach(), codebook.detach(), levels, handle, impl
    )
    residuals = _residuals(z, _Constant.apply(codebook), codes)
    differentiable = torch.stack([residual.square().sum(-1) for residual in residuals], -1)
    return codes, quantized + _nothing(z), sq_norms + _nothing(differentiable)


def _nothing(x: Tensor) -> Tensor:
    """Zeros with the derivatives of x."""
    return x - x.detach()


class _Constant(torch.autograd.Function):
    """The identity for a constant: asking for its derivative raises instead of giving zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(codebook):
        return codebook.view_as(codebook)

    @staticmethod
    def setup_context(ctx, inputs, output): ...

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        raise ValueError(_FROZEN)

    @staticmethod
    def jvp(ctx, tangent):  # type: ignore[override]
        raise ValueError(_FROZEN)


_FROZEN = (
    "a derivative with respect to codebook was asked for, but the codebook is frozen and never "
    "gets a gradient: differentiate with respect to z, and pass codebook.detach()"
)
