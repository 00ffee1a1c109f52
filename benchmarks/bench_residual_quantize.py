"""Residual quantisation, its peers and one matrix product, interleaved in the same run.

`make bench` runs the short set: the cases of docs/performance.md. `make bench-full` runs every
combination of depth, dimension, number of tokens and codebooks, on one and two threads. Each case
prints its times and the peaks measured in the same run; rows go to
benchmarks/results/residual_quantize.csv.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.fma_peak import peaks_tflops
from benchmarks.interleaved import interleaved, peak_extra_bytes, percentiles
from benchmarks.peers import PEERS, faiss_blas, missing_peers
from craft_kernels import FrozenCodebook, residual_quantize

K = 16384
FAST = (
    "torch.mm",
    "torch.mm bf16",
    "ours",
    "ours, cold",
    "plain formula fp32",
)  # measured in several rounds


class Case(NamedTuple):
    dim: int
    levels: int
    tokens: int
    shared: bool = True
    threads: int = 2

    def __str__(self) -> str:
        books = "shared" if self.shared else "separate"
        return f"D{self.dim}-L{self.levels}-N{self.tokens}-{books}-{self.threads}threads"


SHORT = [
    Case(1024, 4, 256),
    Case(1024, 4, 2048, shared=False),
    Case(1152, 16, 729),
    Case(256, 4, 2048),
    Case(1024, 4, 6144),
]
FULL = [
    Case(dim, levels, tokens, shared, threads)
    for dim, levels, tokens, shared, threads in itertools.product(
        (256, 1024, 1152), (4, 16), (256, 729, 2048, 6144), (True, False), (1, 2)
    )
    if shared or levels == 4  # sixteen separate codebooks need gigabytes
]
CASES = [pytest.param(case, id=str(case)) for case in SHORT] + [
    pytest.param(case, id=str(case), marks=pytest.mark.full) for case in FULL if case not in SHORT
]


def codebook_of(case: Case) -> Tensor:  # [K, D] or [L, K, D]
    shape = (K, case.dim) if case.shared else (case.levels, K, case.dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens_of(case: Case, codebook: Tensor) -> Tensor:  # [N, D] sums of three codewords and noise
    generator = torch.Generator().manual_seed(case.tokens)
    words = codebook.reshape(-1, K, case.dim)
    z = 0.3 * torch.randn(case.tokens, case.dim, generator=generator)
    for level in range(3):
        chosen = torch.randint(K, (case.tokens,), generator=generator)
        z += words[level % len(words)][chosen]
    return z


def true_codes(z: Tensor, codebook: Tensor, levels: int) -> Tensor:  # [N, L]
    """float64 brute force."""
    codes = []
    residual = z
    for level in range(levels):
        words = codebook if codebook.ndim == 2 else codebook[level]
        wide = words.double()
        half_sq_norms = 0.5 * wide.square().sum(1)
        found = [(r.double() @ wide.T - half_sq_norms).argmax(1) for r in residual.split(256)]
        codes.append(torch.cat(found))
        residual = residual - words[codes[-1]]
    return torch.stack(codes, 1)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("case", CASES)
def test_beside_peers(case: Case, benchmark, capsys) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        rows, peaks = compare(case, benchmark)
    finally:
        torch.set_num_threads(before)
    results.append("residual_quantize.csv", rows)
    with capsys.disabled():
        print("\n" + "\n".join(summary(case, rows, peaks)))


def compare(case: Case, benchmark) -> tuple[list[dict], dict[str, float]]:
    """The rows of a case, and the peaks in TFLOP/s that its limit stands on."""
    codebook = codebook_of(case)
    z = tokens_of(case, codebook)
    frozen = FrozenCodebook(codebook, case.levels)
    words = codebook.reshape(-1, K, case.dim)[0]
    product = torch.empty(case.tokens, K)
    quantizers = {
        "ours": lambda x: residual_quantize(x, frozen).codes,
        "ours, cold": lambda x: residual_quantize(x, FrozenCodebook(codebook, case.levels)).codes,
        **{name: make(codebook, case.levels) for name, make in PEERS.items()},
    }
    sample = z[:256]  # enough to see a peer's errors; ours must be correct on all
    truth = true_codes(sample, codebook, case.levels)
    wrong = {
        name: (quantize(sample) != truth).any(1).float().mean().item()
        for name, quantize in quantizers.items()
    }
    assert wrong["ours"] == wrong["ours, cold"] == 0
    variants: dict[str, Callable[[], object]] = {
        name: functools.partial(quantize, z) for name, quantize in quantizers.items()
    }
    memory = {}
    for name, call in variants.items():
        call() if name == "ours" else None  # Gram rows have their own memory budget
        memory[name] = peak_extra_bytes(call)
    variants["torch.mm"] = lambda: torch.mm(z, words.t(), out=product)
    coarse, coarse_words = z.bfloat16(), words.bfloat16()
    variants["torch.mm bf16"] = lambda: torch.mm(coarse, coarse_words.t())
    fast = {name: variants.pop(name) for name in FAST}
    rounds = max(3, min(15, 15 * 256 * 1024 // (case.tokens * case.dim)))
    seconds = interleaved(fast, rounds)
    # Slow peers run once, between two products that relate them to the others.
    for name, call in variants.items():
        around = interleaved({"before": fast["torch.mm"], name: call, "after": fast["torch.mm"]}, 1)
        product_then = (around["before"][0] + around["after"][0]) / 2
        product_now = percentiles(seconds["torch.mm"])[1]
        seconds[name] = [around[name][0] * product_now / product_then]
    benchmark.pedantic(fast["ours"], rounds=1)  # so that pytest-benchmark lists the case
    peaks = peaks_tflops(case.threads)
    return rows_of(case, seconds, wrong, memory, peaks), peaks


def rows_of(
    case: Case,
    seconds: dict[str, list[float]],
    wrong: dict[str, float],
    memory: dict[str, int],
    peaks: dict[str, float],  # TFLOP/s by unit
) -> list[dict]:
    product = percentiles(seconds["torch.mm"])[1]
    unit = max(peaks, key=lambda unit: peaks[unit])
    flops = 2 * case.tokens * K * case.dim  # of one level
    # The limit counts one product for all levels if they share a codebook.
    needed = flops * (1 if case.shared else case.levels)
    rows = []
    for name, values in seconds.items():
        p20, p50, p80 = percentiles(values)
        levels = 1 if name.startswith("torch.mm") else case.levels
        rows.append(
            {
                **case._asdict(),
                "K": K,
                "variant": name,
                "p20_ms": f"{1e3 * p20:.3f}",
                "p50_ms": f"{1e3 * p50:.3f}",
                "p80_ms": f"{1e3 * p80:.3f}",
                "brute_force_tflops": f"{flops * levels / p50 / 1e12:.4f}",
                "of_fma_peak": f"{flops * levels / p50 / 1e12 / peaks['float32 FMA']:.3f}",
                "limit_unit": unit,
                "of_limit": f"{needed / peaks[unit] / 1e12 / p50:.3f}" if levels > 1 else "",
                "times_one_mm": f"{p50 / product:.3f}",
                "wrong_tokens": "" if name not in wrong else f"{wrong[name]:.4f}",
                "peak_extra_mib": "" if name not in memory else f"{memory[name] / 2**20:.1f}",
                "faiss_blas": faiss_blas() if "FAISS" in name else "",
            }
        )
    return rows


def summary(case: Case, rows: list[dict], peaks: dict[str, float]) -> list[str]:
    """What a case's run found, with the peaks that were measured in it."""
    measured = ", ".join(f"{unit} {peak:.3f} TFLOP/s" for unit, peak in peaks.items())
    lines = [f"{case}: peaks {measured}; the limit is that of {rows[0]['limit_unit']}"]
    for row in sorted(rows, key=lambda row: float(row["p50_ms"])):
        limit = f"{100 * float(row['of_limit']):5.1f} % of the limit" if row["of_limit"] else ""
        blas = f", {row['faiss_blas']}" if row["faiss_blas"] else ""
        name = row["variant"] + blas
        lines.append(f"  {name:52} {row['p50_ms']:>10} ms {row['times_one_mm']:>7} x mm  {limit}")
    return lines + [f"  {name}: not installed, left out" for name in missing_peers()]
