"""From encoder features to codes, for training and inference alike."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft_kernels import FrozenCodebook, ResidualCodes, residual_quantize


def quantize(
    z: Tensor,  # [..., D]
    codebook: Codebook | FrozenCodebook | Tensor,
    levels: int | None = None,
    *,
    impl: str = "auto",
) -> ResidualCodes:
    """Quantise z residually to exactly nearest codewords, with a straight-through gradient.

    This is `craft_kernels.residual_quantize` for a `Codebook`, whose number of levels is the
    default.

    Args:
        z: [..., D] float32, bfloat16 or float16.
        codebook: a Codebook, a FrozenCodebook, or a tensor [K, D] or [L, K, D].
        levels: L; needed only for a tensor [K, D]. Fewer than a shared codebook's are allowed.
        impl: "auto", "native" or "reference".

    Returns:
        codes [..., L] int64; quantized [..., D], whose gradient goes to z unchanged;
        residual_sq_norms [..., L] float32, |r_1|^2 first, for `commitment` and `craft.prune`.

    Raises:
        CraftError: an argument is invalid; the message names it and the way out.
    """
    if not isinstance(codebook, Codebook):
        return residual_quantize(z, codebook, levels, impl=impl)
    found = residual_quantize(z, codebook.on(z.device), levels, impl=impl)
    used = codebook.used
    if used is None:
        return found
    return found._replace(codes=used.to(z.device)[found.codes])


def commitment(
    residual_sq_norms: Tensor,  # [..., L]
    dim: int,
    levels: Literal["cumulative", "final"] = "cumulative",
) -> Tensor:  # []
    """The commitment loss, which pulls z towards its codewords.

    Args:
        residual_sq_norms: [..., L] from `quantize`; differentiable with respect to z.
        dim: D, so that the loss is a mean over channels.
        levels: "cumulative" averages |z - (c_1 + ... + c_l)|^2 over the levels l, as VILA-U does,
            which keeps the first-level codes anchored; "final" is |z - quantized|^2 alone.

    Returns:
        The mean over tokens, channels and, for "cumulative", levels.

    Raises:
        CraftError: dim is below 1, or levels is unknown.
    """
    if dim < 1:
        raise CraftError(f"dim must be the number of channels of z, >= 1, got {dim}")
    if levels == "cumulative":
        return residual_sq_norms.mean() / dim
    if levels == "final":
        return residual_sq_norms[..., -1].mean() / dim
    raise CraftError(f"levels must be 'cumulative' or 'final', got {levels!r}")
