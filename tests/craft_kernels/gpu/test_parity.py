"""On a real GPU: the codes, sums, gradients and orders of the CPU, bit for bit."""

import importlib.util
import os

import pytest
import torch

from craft_kernels import FrozenCodebook, backend_info, prune_order, residual_quantize

WAYS = [
    ("auto", "gram", ""),
    *(("auto", "streaming", p) for p in ("ieee", "tf32x3", "bf16x3", "tf32", "bf16")),
    ("auto", "fused", ""),
    ("cuda", "gram", ""),
]
cuda = pytest.param(
    "cuda",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("craft_kernels._cuda") is None, reason="CUDA C++ was not built"
    ),
)


@pytest.fixture(params=WAYS, ids="-".join)
def way(request, monkeypatch):
    """What to pass as impl."""
    impl, path, precision = request.param
    if impl == "cuda" and importlib.util.find_spec("craft_kernels._cuda") is None:
        pytest.skip("CUDA C++ was not built")
    if torch.version.hip and precision == "tf32x3":
        pytest.skip("AMD has no tf32x3")
    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    monkeypatch.setenv("CRAFT_KERNELS_PRECISION", precision)
    return impl


def check(z, codebook, levels, impl):
    if os.environ.get("CRAFT_KERNELS_PATH") == "fused" and z.shape[1] > 64:
        pytest.skip("the fused path is for a small D")
    on_gpu = residual_quantize(z.cuda(), FrozenCodebook(codebook.cuda(), levels), impl=impl)
    on_cpu = residual_quantize(z, FrozenCodebook(codebook, levels), impl="native")
    for got, expected in zip(on_gpu, on_cpu, strict=True):
        assert torch.equal(got.cpu(), expected)


@pytest.mark.parametrize(
    ("n", "k", "d", "levels"),
    [(1, 1, 1, 1), (33, 257, 16, 4), (300, 1000, 33, 3), (256, 16384, 1024, 4)],
)
def test_codes(way, n, k, d, levels):
    g = torch.Generator().manual_seed(0)
    check(2 * torch.randn(n, d, generator=g), torch.randn(k, d, generator=g), levels, way)


def test_codes_with_a_mean_offset(way):
    """Scores far from each other in bfloat16, close in truth: most tokens need a second look."""
    g = torch.Generator().manual_seed(1)
    check(torch.randn(64, 256, generator=g) + 4, torch.randn(4096, 256, generator=g) + 4, 4, way)


def test_ties(way):
    g = torch.Generator().manual_seed(2)
    codebook = torch.randint(-3, 4, (900, 3), generator=g).float()
    check(torch.randint(-8, 9, (300, 3), generator=g).float() / 2, codebook, 3, way)


@pytest.mark.parametrize("scale", [1e38, 1e19, 1e-19, 1e-38, 1e-44])
def test_magnitudes(way, scale):
    g = torch.Generator().manual_seed(3)
    codebook = torch.rand(200, 20, generator=g).sub(0.5) * scale
    check(torch.rand(40, 20, generator=g).sub(0.5) * scale, codebook, 3, way)


@pytest.mark.parametrize("way", [WAYS[0], WAYS[-1]], indirect=True, ids="-".join)
def test_lowered_matmul_precision(way, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")
    g = torch.Generator().manual_seed(8)
    word = torch.randn(1, 64, generator=g)
    codebook = word + 2.0**-12 * torch.randn(900, 64, generator=g)
    check(word + 2.0**-8 * torch.randn(100, 64, generator=g), codebook, 3, way)


@pytest.mark.parametrize("impl", ["auto", cuda])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient(dtype, impl):
    z = torch.randn(50, 40, generator=torch.Generator().manual_seed(4)).to(dtype)
    codebook = torch.randn(60, 40, generator=torch.Generator().manual_seed(5))
    grads = []
    for device in ("cpu", "cuda"):
        leaf = z.to(device).requires_grad_()
        name = impl if device == "cuda" else "native"
        result = residual_quantize(leaf, codebook.to(device), 4, impl=name)
        loss = (result.quantized.float() ** 2).sum() + (result.residual_sq_norms**2).sum()
        grads.append(torch.autograd.grad(loss, leaf)[0].cpu())
    assert torch.equal(*grads)


@pytest.mark.parametrize("impl", ["auto", cuda])
@pytest.mark.parametrize("grid", [(1, 1), (7, 5), (16, 16), (27, 27)])
def test_prune_order(grid, impl):
    g = torch.Generator().manual_seed(6)
    ids = torch.randint(0, 60, (64, grid[0] * grid[1]), generator=g)
    residual_sq, prior = torch.rand(ids.shape, generator=g), torch.rand(60, generator=g) + 1e-3
    for weight in (0.0, 0.3, 0.5):
        expected, got = (
            prune_order(
                ids.to(device),
                residual_sq.to(device),
                prior.to(device),
                grid,
                isolation_weight=weight,
                impl=name,
            ).cpu()
            for device, name in (("cpu", "native"), ("cuda", impl))
        )
        assert torch.equal(got, expected)


def test_cuda_graph(way):
    g = torch.Generator().manual_seed(7)
    frozen = FrozenCodebook(torch.randn(512, 64, generator=g).cuda(), 4)
    z = torch.randn(256, 64, generator=g).cuda()
    residual_quantize(z, frozen, impl=way)  # compiles, and fills what the codebook keeps
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = residual_quantize(z, frozen, impl=way)
    z.copy_(torch.randn(256, 64, generator=g))
    graph.replay()
    expected = residual_quantize(z.cpu(), FrozenCodebook(frozen.tensor.cpu(), 4))
    assert torch.equal(captured.codes.cpu(), expected.codes)


def test_auto_is_triton():
    assert backend_info("cuda").impl == "triton"
