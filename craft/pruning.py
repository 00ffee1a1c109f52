"""Test-time pruning, which keeps the visual tokens whose codes are rare in the domain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import craft_kernels
from craft.errors import CraftError
from craft.prior import TokenPrior
from craft.settings.choices import Selector

_SELECTORS = ("full", "quota_residual", "quota_random", "random")


@dataclass(frozen=True)
class Pruned:
    """Result of `prune`."""

    indices: Tensor  # [B, M] int64, kept positions in raster order
    tensors: tuple[Tensor, ...]  # [B, M, ...], in the order given
    gamma_star: Tensor | None = None  # [B] float64, with report=True
    floor_hit: Tensor | None = None  # [B] bool, with report=True


def prune(
    codes: Tensor,  # [B, N, L] or first-level ids [B, N]
    residual_sq: Tensor,  # [B, N, L] or [B, N]
    prior: TokenPrior | Tensor,  # [K]
    grid: tuple[int, int],  # (H, W)
    *tensors: Tensor,  # [B, N, ...]
    keep_ratio: float | None = None,
    keep: int | None = None,
    selector: Selector = "full",
    order: Tensor | None = None,  # [B, N]
    report: bool = False,
    neighbors: int = 4,
    isolation_weight: float = 0.5,
    seed: int = 0,
    image_index: int | Tensor = 0,
    impl: str = "auto",
) -> Pruned:
    """Keep exactly M tokens of every image and gather the given tensors at them.

    With nothing to prune, the tensors are returned as they are, without copying.

    Args:
        codes: int64 [B, N, L] from `quantize`, or first-level ids [B, N].
        residual_sq: float32 [B, N, L], `residual_sq_norms`, or its first level [B, N].
        prior: a TokenPrior of the first level, or positive frequencies [K]. Call `prior.check` once
            for each pair of prior and encoder.
        grid: (H, W) with H * W = N.
        tensors: any [B, N, ...] to gather the kept tokens from; differentiable.
        keep_ratio: in (0, 1]; M = keep_count(N, keep_ratio).
        keep: M itself, in 1..N; instead of keep_ratio.
        selector, neighbors, isolation_weight, seed, image_index, impl: see `prune_order`.
        order: result of `prune_order`, to compute it once for several budgets.
        report: also return gamma_star and floor_hit.

    Returns:
        indices [B, M] in raster order and the gathered tensors. With report=True also gamma_star,
        the exponent at which the quotas ceil(n_k w_k^gamma) meet this budget (0 if nothing is
        pruned, infinite if no exponent gives so small a budget), and floor_hit, whether the image
        has more than M distinct ids, so that some of them disappear.

    Raises:
        CraftError: an argument is invalid; the message names it, its value and what was expected.
    """
    ids = _first_level(codes, "codes")
    batch, count = ids.shape
    kept = _budget(count, keep_ratio, keep)
    for i, tensor in enumerate(tensors):
        if tensor.shape[:2] != ids.shape:
            raise CraftError(
                f"tensors[{i}] must be [B, N, ...] with B, N = {batch}, {count}, "
                f"got {tuple(tensor.shape)}"
            )
    if report and selector == "random":
        raise CraftError("report=True needs a selector with quotas, got selector='random'")
    if kept == count:
        indices = torch.arange(count, device=ids.device).repeat(batch, 1)
        if not report:
            return Pruned(indices, tensors)
        nothing = torch.zeros(batch, dtype=torch.float64, device=ids.device)
        return Pruned(indices, tensors, nothing, nothing.bool())
    if order is None:
        order = prune_order(
            codes,
            residual_sq,
            prior,
            grid,
            selector=selector,
            neighbors=neighbors,
            isolation_weight=isolation_weight,
            seed=seed,
            image_index=image_index,
            impl=impl,
        )
    elif order.shape != ids.shape:
        raise CraftError(f"order must be [B, N] = {tuple(ids.shape)}, got {tuple(order.shape)}")
    indices = order[:, :kept].sort(dim=1).values
    rows = torch.arange(batch, device=ids.device)[:, None]
    gathered = tuple(tensor[rows, indices] for tensor in tensors)
    if not report:
        return Pruned(indices, gathered)
    return Pruned(indices, gathered, *_report(ids, order, _probabilities(prior, ids), kept))


def prune_order(
    codes: Tensor,  # [B, N, L] or first-level ids [B, N]
    residual_sq: Tensor,  # [B, N, L] or [B, N]
    prior: TokenPrior | Tensor,  # [K]
    grid: tuple[int, int],  # (H, W)
    *,
    selector: Selector = "full",
    neighbors: int = 4,
    isolation_weight: float = 0.5,
    seed: int = 0,
    image_index: int | Tensor = 0,
    impl: str = "auto",
) -> Tensor:  # [B, N]
    """Rank the token positions of each image so that every prefix is a selection.

    Args:
        codes, residual_sq, prior, grid: as for `prune`.
        selector: "full" sets quotas by rarity and ranks within an id by residual and isolation.
            The others are the baselines of the paper's ablation: "quota_residual" ranks by residual
            only, "quota_random" at random, and "random" ignores the quotas.
        neighbors, isolation_weight, impl: as for `craft_kernels.prune_order`.
        seed: of the random selectors.
        image_index: number of the batch's first image within the data set, or [B] int64 numbers.
            Random choices depend only on (seed, image, N), not on how images are batched.

    Returns:
        Order [B, N] int64; the position that is pruned last comes first.

    Raises:
        CraftError: an argument is invalid.
    """
    if selector not in _SELECTORS:
        raise CraftError(
            f"selector must be one of {', '.join(map(repr, _SELECTORS))}, got {selector!r}"
        )
    ids = _first_level(codes, "codes")
    if selector == "random":
        return _random_keys(ids, seed, image_index).argsort(dim=1, stable=True)
    if selector == "quota_random":
        # 24 random bits are exact in float32; only the order of the residuals matters.
        residual_sq = (_random_keys(ids, seed, image_index) >> 39).float()
    if selector != "full":
        isolation_weight = 0.0
    return craft_kernels.prune_order(
        ids,
        _first_level(residual_sq, "residual_sq"),
        _probabilities(prior, ids),
        grid,
        neighbors=neighbors,
        isolation_weight=isolation_weight,
        impl=impl,
    )


def keep_count(count: int, keep_ratio: float) -> int:
    """M = max(1, round(keep_ratio * N)), rounding halves up; it does not depend on the image.

    >>> keep_count(256, 0.8)
    205
    """
    if not 0 < keep_ratio <= 1:
        raise CraftError(f"keep_ratio must be in (0, 1], got {keep_ratio}")
    return max(1, math.floor(keep_ratio * count + 0.5))


def _budget(count: int, keep_ratio: float | None, keep: int | None) -> int:
    if keep is None and keep_ratio is not None:
        return keep_count(count, keep_ratio)
    if keep is None or keep_ratio is not None:
        raise CraftError(f"give one of keep_ratio and keep, got {keep_ratio=}, {keep=}")
    if not 1 <= keep <= count:
        raise CraftError(f"keep must be in 1..N with N = {count}, got {keep}")
    return keep


def _first_level(tensor: Tensor, name: str) -> Tensor:  # [B, N]
    if tensor.ndim == 3 and tensor.shape[-1] > 0:
        return tensor[..., 0]
    if tensor.ndim == 2:
        return tensor
    raise CraftError(f"{name} must be [B, N, L] or [B, N], got {tuple(tensor.shape)}")


def _probabilities(prior: TokenPrior | Tensor, ids: Tensor) -> Tensor:  # [K] float32
    if isinstance(prior, Tensor):
        return prior
    if prior.level != 1:
        raise CraftError(
            f"prior must count first-level codes, got level {prior.level}; "
            "count it with TokenPrior.count(..., level=1)"
        )
    return prior.on(ids.device)


def _random_keys(ids: Tensor, seed: int, image_index: int | Tensor) -> Tensor:  # [B, N] int64
    """63 random bits per token: a hash (splitmix64) of seed, image and position."""
    batch, count = ids.shape
    images = torch.arange(batch, device=ids.device)
    if isinstance(image_index, Tensor):
        if image_index.shape != (batch,):
            raise CraftError(f"image_index must be [B] = [{batch}], got {tuple(image_index.shape)}")
        images = image_index.to(ids.device)
    else:
        images = images + image_index
    keys = _mix(torch.full_like(images, seed))
    keys = _mix(keys + images)[:, None]
    return _mix(keys + torch.arange(count, device=ids.device)) & (2**63 - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x + 1) * -0x61C8864680B583EB
    x = (x ^ _shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & (2 ** (64 - bits) - 1)  # torch's shift is arithmetic


def _report(
    ids: Tensor,  # [B, N]
    order: Tensor,  # [B, N]
    probabilities: Tensor,  # [K]
    kept: int,
) -> tuple[Tensor, Tensor]:  # [B] float64, [B] bool
    """Critical exponent of the first dropped token, whose slot is how many its id keeps."""
    by_rank = ids.gather(1, order)
    dropped = by_rank[:, kept : kept + 1]
    same = by_rank == dropped
    slot = same[:, :kept].sum(dim=1).double()
    log_prior = probabilities.double().log()
    log_weight = log_prior[dropped[:, 0]] - log_prior[ids].amin(dim=1)
    gamma = (
        same.sum(dim=1) / slot
    ).log() / log_weight  # division by zero gives infinity, as it should
    return gamma, slot == 0
