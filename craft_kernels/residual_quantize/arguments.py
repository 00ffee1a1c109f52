"""Checks of the quantiser's arguments; errors name the argument and the way out."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DEVICES = ("cpu", "cuda", "meta")


def check_tensor(name: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in DTYPES:
        raise ValueError(
            f"{name} must be float32, bfloat16 or float16, got {tensor.dtype}: quantisation is "
            f"defined on float32 values, pass {name}.float()"
        )
    if tensor.device.type not in DEVICES:
        raise ValueError(
            f"{name} is on {tensor.device}, where there are no kernels: pass {name}.cpu()"
        )
    return tensor


def check_codebook(codebook: object) -> Tensor:  # [K, D] or [L, K, D]
    codebook = check_tensor("codebook", codebook)
    shape = tuple(codebook.shape)
    if codebook.ndim not in (2, 3):
        raise ValueError(
            "codebook must be [K, D] (shared by all levels) or [L, K, D] (one per level), "
            f"got shape {shape}"
        )
    if 0 in shape:
        raise ValueError(f"codebook must hold at least one codeword, got shape {shape}")
    if codebook.requires_grad:
        raise ValueError(
            "codebook requires grad, but the codebook is frozen and never gets a gradient: "
            "pass codebook.detach()"
        )
    return codebook


def check_levels(codebook: Tensor, levels: int | None) -> int:
    """The number of levels that a codebook and the argument `levels` agree on."""
    if codebook.ndim == 3:
        if levels not in (None, codebook.shape[0]):
            raise ValueError(
                f"levels is {levels!r}, but codebook [L, K, D] has L={codebook.shape[0]}: "
                "leave levels out, or pass codebook[:levels]"
            )
        return codebook.shape[0]
    if levels is None:
        raise ValueError(
            "levels is missing: a codebook [K, D] is shared by all levels and does not say how "
            "many there are, pass levels="
        )
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ValueError(f"levels must be an integer >= 1, got {levels!r}")
    return levels


def check_z(z: object, codebook: Tensor) -> Tensor:  # [..., D]
    z = check_tensor("z", z)
    dim = codebook.shape[-1]
    if z.ndim == 0 or z.shape[-1] != dim:
        raise ValueError(
            f"z must be [..., D] with D={dim} as in codebook {tuple(codebook.shape)}, "
            f"got shape {tuple(z.shape)}"
        )
    if z.device != codebook.device:
        raise ValueError(
            f"z is on {z.device} and codebook on {codebook.device}: pass codebook.to(z.device), "
            "or a FrozenCodebook made of that"
        )
    return z


class NotFiniteError(ValueError):
    """A tensor holds a NaN or an infinity, or values so large that residuals overflow to one."""


def raise_if_not_finite(name: str, tensor: Tensor) -> None:
    """Raise NotFiniteError with the first position, in the caller's shape, of a NaN or infinity."""
    finite = torch.isfinite(tensor)
    if finite.all():
        return
    position = tuple((~finite).nonzero()[0].tolist())
    raise NotFiniteError(
        f"{name} must be finite, got {tensor[position].item()} at position {position} of shape "
        f"{tuple(tensor.shape)}"
    )


def raise_not_finite(z: Tensor) -> None:
    """Say why a residual is not finite: either z was not, or the subtraction overflowed."""
    raise_if_not_finite("z", z)
    raise NotFiniteError(
        "z is too large: subtracting its nearest codeword overflows float32, and the residual "
        "would be infinite; scale z and codebook down by the same power of two"
    )
