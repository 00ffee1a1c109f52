"""Checks of the arguments of `prune_order`."""

import math

import torch
from torch import Tensor

MAX_TOKENS = 65536  # of an image, so that sums of fixed-point distances stay below 2**63


def check_arguments(
    ids: Tensor,
    residual_sq: Tensor,
    prior: Tensor,
    grid: tuple[int, int],
    neighbors: int,
    isolation_weight: float,
) -> None:
    """Check shapes, dtypes, devices and options: all that is known without reading a value."""
    if ids.dim() != 2:
        raise ValueError(
            f"ids must be [B, N], got {tuple(ids.shape)}; pass first-level codes, codes[..., 0]"
        )
    if ids.dtype != torch.int64:
        raise ValueError(f"ids must be torch.int64, got {ids.dtype}")
    if ids.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(
            f"ids is on {ids.device}, where there are no kernels; move the inputs with .cpu()"
        )
    if residual_sq.shape != ids.shape:
        raise ValueError(
            f"residual_sq must have the shape of ids, {tuple(ids.shape)}, "
            f"got {tuple(residual_sq.shape)}; pass the first level, residual_sq_norms[..., 0]"
        )
    if prior.dim() != 1 or prior.shape[0] == 0:
        raise ValueError(f"prior must be [K] with K >= 1, got {tuple(prior.shape)}")
    for name, tensor in (("residual_sq", residual_sq), ("prior", prior)):
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} must be torch.float32, got {tensor.dtype}")
        if tensor.device != ids.device:
            raise ValueError(
                f"{name} must be on the device of ids, {ids.device}, got {tensor.device}"
            )
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid must be (H, W) with H, W >= 1, got {tuple(grid)}")
    height, width = grid
    if height * width != ids.shape[1]:
        raise ValueError(
            f"grid must satisfy H * W == N, got {height} * {width} = {height * width} "
            f"for ids with N = {ids.shape[1]}"
        )
    if height * width > MAX_TOKENS:
        raise ValueError(f"grid must have at most {MAX_TOKENS} tokens, got {height * width}")
    if neighbors < 1:
        raise ValueError(f"neighbors must be >= 1, got {neighbors}")
    if not 0 <= isolation_weight <= 1:
        raise ValueError(f"isolation_weight must be in [0, 1], got {isolation_weight}")


def check_values(ids: Tensor, residual_sq: Tensor, prior: Tensor) -> None:
    """Check that ids are in [0, K), residual_sq finite and >= 0, and prior finite and > 0.

    The error names the first offender. Unless there is one, a GPU is waited for only once.
    """
    # On the CPU, where nothing waits, the tests one by one take less than half the time.
    if ids.device.type != "cpu" and _all_fine(ids, residual_sq, prior):
        return
    lowest, highest = _bounds(prior)
    if not (lowest > 0 and highest < math.inf):
        where, value = _first(prior, ~(prior > 0) | prior.isinf())
        raise ValueError(
            f"prior must be finite and > 0, got {value} at [{where}]; smooth the counts "
            f"(add-one: (count + 1) / (total + K)) so that unseen codes keep a frequency"
        )
    if ids.numel() == 0:
        return
    lowest, highest = _bounds(ids)
    if lowest < 0 or highest >= prior.shape[0]:
        where, value = _first(ids, (ids < 0) | (ids >= prior.shape[0]))
        raise ValueError(
            f"ids must be in [0, K) with K = {prior.shape[0]}, got {value} at [{where}]"
        )
    lowest, highest = _bounds(residual_sq)
    if not (lowest >= 0 and highest < math.inf):
        where, value = _first(residual_sq, ~(residual_sq >= 0) | residual_sq.isinf())
        raise ValueError(f"residual_sq must be finite and >= 0, got {value} at [{where}]")


def _all_fine(ids: Tensor, residual_sq: Tensor, prior: Tensor) -> bool:
    lowest, highest = prior.aminmax()  # NaN anywhere makes both NaN, which is in no range
    fine = (lowest > 0) & (highest < math.inf)
    if ids.numel():
        first, last = ids.aminmax()
        nearest, farthest = residual_sq.aminmax()
        fine = fine & (first >= 0) & (last < prior.shape[0])
        fine = fine & (nearest >= 0) & (farthest < math.inf)
    return bool(fine)


def _bounds(tensor: Tensor) -> tuple[float, float]:
    lowest, highest = tensor.aminmax()  # NaN anywhere makes both NaN
    return lowest.item(), highest.item()


def _first(tensor: Tensor, bad: Tensor) -> tuple[str, float]:
    index = bad.nonzero()[0].tolist()
    return ", ".join(map(str, index)), tensor[tuple(index)].item()
