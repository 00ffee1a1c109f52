"""The pruning order, compared with the torch reference and a plain-Python search for gamma.

Rows go to benchmarks/results/prune_order.csv.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.interleaved import interleaved, percentiles
from craft_kernels import prune_order

CODES = 16384
KEPT = 0.8
REPEATS = 20  # a single call on one image is too short compared with what ran before it
COLD = "ours, a single call after other work"


def images(
    batch: int,
    tokens: int,
) -> tuple[Tensor, Tensor, Tensor]:  # ids [B, N], residual_sq [B, N], prior [K]
    """Random input with about half as many IDs as tokens, a few of them frequent."""
    generator = torch.Generator().manual_seed(0)
    ids = (torch.rand(batch, tokens, generator=generator) ** 3 * 0.7 * tokens).long()
    residual_sq = torch.rand(batch, tokens, generator=generator)
    return ids, residual_sq, torch.rand(CODES, generator=generator) + 1e-4


def searched_in_python(ids: Tensor, residual_sq: Tensor, prior: Tensor, side: int) -> list[int]:
    """One image as in the paper: bisect gamma for the quotas, then keep the best of each ID."""
    groups: dict[int, list[int]] = {}
    for position, code in enumerate(ids.tolist()):
        groups.setdefault(code, []).append(position)
    frequency = {code: prior[code].item() for code in groups}
    rarest = min(frequency.values())
    residuals = residual_sq.tolist()

    def quotas(gamma: float) -> dict[int, int]:
        return {
            code: max(1, math.ceil(len(members) * (rarest / frequency[code]) ** gamma))
            for code, members in groups.items()
        }

    low, high = 0.0, 64.0
    for _ in range(32):
        middle = (low + high) / 2
        if sum(quotas(middle).values()) > KEPT * len(residuals):
            low = middle
        else:
            high = middle
    kept = []
    for code, quota in quotas(high).items():
        members = groups[code]
        lonely = {}
        for p in members:
            distances = sorted(
                math.dist(divmod(p, side), divmod(q, side)) for q in members if q != p
            )[:4]
            lonely[p] = sum(distances) / max(1, len(distances))
        by_residual = {p: i for i, p in enumerate(sorted(members, key=residuals.__getitem__))}
        by_distance = {p: i for i, p in enumerate(sorted(members, key=lonely.__getitem__))}
        ranked = sorted(members, key=lambda p, a=by_residual, b=by_distance: -(a[p] + b[p]))
        kept += ranked[:quota]
    return sorted(kept)


@pytest.mark.parametrize(
    ("tokens", "batch"),
    [(256, 1), (256, 64), (729, 1), (729, 64), (1024, 4), (4096, 4)],
)
def test_on_one_thread(benchmark, tokens: int, batch: int) -> None:
    side = math.isqrt(tokens)
    ids, residual_sq, prior = images(batch, tokens)
    grid = (side, side)

    def ours():
        return prune_order(ids, residual_sq, prior, grid, impl="native")

    def reference():
        return prune_order(ids, residual_sq, prior, grid, impl="reference")

    def in_python():
        return searched_in_python(ids[0], residual_sq[0], prior, side)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(ours(), reference())
        in_python()
        variants = {
            "torch reference": reference,
            COLD: ours,  # other work has just filled the caches
            "ours": lambda: [ours() for _ in range(REPEATS)],
        }
        seconds = interleaved(variants, 10)
        seconds["ours"] = [s / REPEATS for s in seconds["ours"]]
        seconds |= interleaved({"plain Python, one image": in_python}, 10)
        benchmark.pedantic(ours, rounds=10)
    finally:
        torch.set_num_threads(threads)
    rows = []
    for name, values in seconds.items():
        microseconds = [1e6 * s / (1 if "one image" in name else batch) for s in values]
        p20, p50, p80 = (f"{value:.1f}" for value in percentiles(microseconds))
        rows.append(
            {
                "tokens": tokens,
                "batch": batch,
                "variant": name,
                "p20_us_per_image": p20,
                "p50_us_per_image": p50,
                "p80_us_per_image": p80,
            }
        )
    results.append("prune_order.csv", rows)
