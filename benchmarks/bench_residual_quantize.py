"""Residual quantisation at VILA-U's size against its own formula and against one matrix product.

    pytest benchmarks/bench_residual_quantize.py
    CRAFT_BENCH_DIM=1024 pytest benchmarks/bench_residual_quantize.py    (default 256)

The yardstick, torch.mm of all tokens with the codebook once, is a quarter of the nominal work that
the figures in extra_info count (2 N K D for each of the levels). Peers run on the same tokens in
the same process; vector-quantize-pytorch and faiss join in if they are installed.
"""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from torch import Tensor

from craft_kernels import FrozenCodebook, backend_info, residual_quantize

D = int(os.environ.get("CRAFT_BENCH_DIM", "256"))
K, L = 16384, 4


@pytest.fixture(scope="module")
def codebook() -> Tensor:  # [K, D]
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def frozen(codebook: Tensor) -> FrozenCodebook:
    return FrozenCodebook(codebook, L)


@pytest.fixture(params=[256, 2048], ids=lambda n: f"N{n}")
def z(request, codebook: Tensor) -> Tensor:  # [N, D] sums of three codewords and noise
    generator = torch.Generator().manual_seed(request.param)
    chosen = torch.randint(K, (3, request.param), generator=generator)
    return codebook[chosen].sum(0) + 0.3 * torch.randn(request.param, D, generator=generator)


def measure(benchmark, function, z: Tensor, setup=None, levels: int = L):
    benchmark.group = f"residual_quantize N={len(z)} K={K} D={D} L={L}"
    result = benchmark.pedantic(function, setup=setup, rounds=5, warmup_rounds=0 if setup else 1)
    benchmark.extra_info.update(
        nominal_tflops=2 * len(z) * K * D * levels / benchmark.stats["median"] / 1e12,
        threads=torch.get_num_threads(),
        backend=backend_info()._asdict(),
    )
    return result


def test_ours_warm(benchmark, z: Tensor, frozen: FrozenCodebook) -> None:
    measure(benchmark, lambda: residual_quantize(z, frozen), z)


def test_ours_cold(benchmark, z: Tensor, codebook: Tensor) -> None:
    """Nothing shared between calls: norms and Gram rows are made anew each time."""

    def setup():
        return (FrozenCodebook(codebook, L),), {}

    measure(benchmark, lambda fresh: residual_quantize(z, fresh), z, setup=setup)


def test_vila_u_formula(benchmark, z: Tensor, codebook: Tensor) -> None:
    """|x|^2 + |c|^2 - 2 x.c by addmm and argmin at every level, as rq-vae and VILA-U write it."""
    transposed = codebook.t()

    def quantize():
        residual, codes = z, []
        for _ in range(L):
            norms = residual.square().sum(1, keepdim=True) + transposed.square().sum(0)
            codes.append(torch.addmm(norms, residual, transposed, alpha=-2.0).argmin(1))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, 1)

    measure(benchmark, quantize, z)


def test_one_matrix_product(benchmark, z: Tensor, codebook: Tensor) -> None:
    out = torch.empty(len(z), K)
    measure(benchmark, lambda: torch.mm(z, codebook.t(), out=out), z, levels=1)


@pytest.mark.skipif(
    importlib.util.find_spec("vector_quantize_pytorch") is None,
    reason="vector-quantize-pytorch is not installed",
)
def test_vector_quantize_pytorch(benchmark, z: Tensor, codebook: Tensor) -> None:
    from vector_quantize_pytorch import ResidualVQ

    peer = ResidualVQ(dim=D, codebook_size=K, num_quantizers=L, shared_codebook=True).eval()
    peer.get_buffer("layers.0._codebook.embed").copy_(codebook)
    with torch.inference_mode():
        measure(benchmark, lambda: peer(z.unsqueeze(0)), z)


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")
def test_faiss_flat(benchmark, z: Tensor, codebook: Tensor) -> None:
    import faiss  # pyright: ignore[reportMissingImports]

    index = faiss.IndexFlatL2(D)
    index.add(codebook.numpy())

    def quantize():
        residual, codes = z, []
        for _ in range(L):
            codes.append(torch.from_numpy(index.search(residual.numpy(), 1)[1][:, 0]))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, 1)

    measure(benchmark, quantize, z)
