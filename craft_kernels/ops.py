"""The schema, the fake kernel and the public signature of every op. The bodies live in the folders.

Ops are registered with Library.define and impl, which cost several times less per call than
custom_op, and are opaque to torch.compile. Derivatives, in both modes, come from an
autograd.Function around the op.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from craft_kernels.backends import check_impl
from craft_kernels.batching import batched_call
from craft_kernels.frozen_codebook import FrozenCodebook
from craft_kernels.prune import dispatch as _prune
from craft_kernels.prune.arguments import check_arguments as check_prune_arguments
from craft_kernels.registration import register_fake
from craft_kernels.residual_quantize import dispatch as _residual_quantize
from craft_kernels.residual_quantize.arguments import check_codebook, check_levels, check_z
from craft_kernels.residual_quantize.autograd import quantize_differentiably

_library = torch.library.Library("craft", "DEF")


class ResidualCodes(NamedTuple):
    """The result of residual_quantize."""

    codes: Tensor  # [..., L] int64
    quantized: Tensor  # [..., D] z.dtype
    residual_sq_norms: Tensor  # [..., L] float32


def residual_quantize(
    z: Tensor,  # [..., D]
    codebook: Tensor | FrozenCodebook,  # [K, D] or [L, K, D]
    levels: int | None = None,
    *,
    impl: str = "auto",
) -> ResidualCodes:
    """Residual quantisation with exact nearest codewords.

    With r_0 = float32(z) and r_l = r_{l-1} - c_{k_l} rounded to float32, the code of level l is
    k_l = argmin_j |r_{l-1} - c_j|^2 in real arithmetic, the lowest index on ties. Codes and sums
    therefore do not depend on the implementation, the instruction set, the number of threads, or
    the batch that a token is part of. Autocast has no effect.

    Args:
        z: [..., D] float32, bfloat16 or float16, with any leading shape, including an empty one.
        codebook: [K, D], shared by all levels, or [L, K, D], one per level, in one of these dtypes;
            or a FrozenCodebook made from one. A plain tensor is prepared anew by every call, and
            the Gram rows it needs (up to 1 GiB) are thrown away: keep a FrozenCodebook instead.
        levels: L. Required for a codebook [K, D], unless its FrozenCodebook was given it.
        impl: "native" (the compiled module, CPU), "triton" (GPU), "reference" (torch, slow), or
            "auto", the first of them that is installed for the device; backend_info(device) says
            which and why. "auto" never chooses "cuda" (CUDA C++ on NVIDIA GPUs, if it was built).

    Returns:
        codes: [..., L] int64.
        quantized: [..., D] in z.dtype: the chosen codewords, added in order of level in float32,
            each addition rounded to float32, the sum then rounded once to z.dtype.
        residual_sq_norms: [..., L] float32: |r_1|^2 first, summed in float64 and rounded once.

        Only z receives a gradient: through `quantized` the identity (straight-through), and through
        |r_l|^2 it is 2 r_l, with the codes held fixed. So the commitment loss over cumulative
        levels is residual_sq_norms.mean() / D, and that of the last level alone is
        residual_sq_norms[..., -1].mean() / D. Forward mode, higher derivatives, and torch.func with
        torch.vmap follow the same formulas; torch.func and forward mode use torch's own operations,
        which hold [..., L, D] floats.

    Raises:
        ValueError: an argument cannot be used; the message names it, its value, what was expected
            and the way out. NaN and infinity are reported with their first position. Asking for a
            derivative with respect to the codebook is such an error, too.
        ImportError: the compiled module is not installed (impl="native", impl="cuda"), or Triton is
            not (impl="triton").
    """
    check_impl(impl)
    handle = 0
    if isinstance(codebook, FrozenCodebook):
        handle = codebook.handle
        levels = codebook.levels if levels is None else levels
        words = codebook._tensor  # not a copy: the op recognises the codebook by it
    else:
        words = check_codebook(codebook)
    levels = check_levels(words, levels)
    z = check_z(z, words)
    return ResidualCodes(*quantize_differentiably(z, words, levels, handle, impl))


_library.define(
    "residual_quantize(Tensor z, Tensor codebook, int levels, int handle, str impl)"
    " -> (Tensor codes, Tensor quantized, Tensor residual_sq_norms)"
)
for _device in ("CPU", "CUDA"):
    _library.impl("residual_quantize", _residual_quantize.residual_quantize, _device)


@register_fake("craft::residual_quantize", lib=_library)
def _(z, codebook, levels, handle, impl):
    shape = z.shape[:-1]
    return (
        z.new_empty((*shape, levels), dtype=torch.int64),
        z.new_empty(z.shape),
        z.new_empty((*shape, levels), dtype=torch.float32),
    )


def _quantize_batch(info, in_dims, *args):
    op = torch.ops.craft.residual_quantize.default
    return batched_call(op, {0}, info.batch_size, in_dims, args)


torch.library.register_vmap("craft::residual_quantize", _quantize_batch, lib=_library)


_library.define(
    "residual_sq_norms_backward(Tensor z, Tensor codebook, Tensor codes, Tensor grad_sq_norms,"
    " Tensor? grad_quantized, str impl) -> Tensor"
)
for _device in ("CPU", "CUDA"):
    _library.impl(
        "residual_sq_norms_backward", _residual_quantize.residual_sq_norms_backward, _device
    )


@register_fake("craft::residual_sq_norms_backward", lib=_library)
def _(z, codebook, codes, grad_sq_norms, grad_quantized, impl):
    return z.new_empty(z.shape)


def prune_order(
    ids: Tensor,  # [B, N]
    residual_sq: Tensor,  # [B, N]
    prior: Tensor,  # [K]
    grid: tuple[int, int],  # (H, W)
    *,
    neighbors: int = 4,
    isolation_weight: float = 0.5,
    impl: str = "auto",
) -> Tensor:  # [B, N]
    """Token positions of each image, ordered so that those to be pruned last come first.

    To keep M tokens of an image, sort order[:, :M]; a smaller budget keeps a subset of a larger
    one. Tokens of rare IDs stay longest: with n_k tokens of ID k in the image and w_k = min p /
    p_k, a prefix holds ceil(n_k w_k^gamma) tokens of each ID, for the gamma that its length
    implies. Within an ID, tokens that are far from their codeword and isolated on the grid stay
    longest. The order is the same, bit for bit, with every implementation and on every machine, and
    no image depends on the others in the batch.

    Args:
        ids: [B, N] int64 in [0, K), first-level codes in raster order; N at most 65536.
        residual_sq: [B, N] float32, finite, >= 0: squared distance to the first-level codeword.
        prior: [K] float32, finite, > 0: smoothed frequencies of the codes, up to a common factor.
        grid: (H, W) with H * W = N.
        neighbors: isolation is the mean distance to this many nearest tokens of the same ID.
        isolation_weight: weight of isolation, in [0, 1]; the residual has 1 - isolation_weight.
            Both cues enter by rank within the ID.
        impl: "native" (the compiled module, CPU), "triton" (GPU), "reference" (torch, slow), or
            "auto", the first of them that is installed for the device; backend_info(device) says
            which and why. "auto" never chooses "cuda" (CUDA C++ on NVIDIA GPUs, if it was built).

    Returns:
        order: [B, N] int64. Tokens with equal critical values are ordered by rarer ID, then higher
        score, then raster order; the best token of each ID comes before all others.

    Raises:
        ValueError: an argument cannot be used; the message names it, its value, what was expected
            and the way out.
        ImportError: the compiled module is not installed (impl="native", impl="cuda"), or Triton is
            not (impl="triton").
    """
    check_impl(impl)
    check_prune_arguments(ids, residual_sq, prior, grid, neighbors, isolation_weight)
    return torch.ops.craft.prune_order.default(
        ids, residual_sq.detach(), prior.detach(), *grid, neighbors, isolation_weight, impl
    )


_library.define(
    "prune_order(Tensor ids, Tensor residual_sq, Tensor prior, SymInt height, SymInt width,"
    " int neighbors, float isolation_weight, str impl) -> Tensor"
)
for _device in ("CPU", "CUDA"):
    _library.impl("prune_order", _prune.prune_order, _device)


@register_fake("craft::prune_order", lib=_library)
def _(ids, residual_sq, prior, height, width, neighbors, isolation_weight, impl):
    return torch.empty_like(ids, memory_format=torch.contiguous_format)


def _prune_batch(info, in_dims, *args):
    def op(ids, residual_sq, *others):
        images = ids.reshape(-1, ids.shape[-1]), residual_sq.reshape(-1, ids.shape[-1])
        return torch.ops.craft.prune_order.default(*images, *others).reshape(ids.shape)

    return batched_call(op, {0, 1}, info.batch_size, in_dims, args)


torch.library.register_vmap("craft::prune_order", _prune_batch, lib=_library)
