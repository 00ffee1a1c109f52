"""What the wrappers really hand to the driver: grids, types, sizes, for shapes off every tile."""

import pytest
import torch

from craft_kernels import FrozenCodebook

N, K, D, L = 70, 1000, 40, 3


@pytest.fixture
def launches(gpu):
    if gpu.name not in ("sm_90", "gfx942"):
        pytest.skip("one target of each vendor is enough")
    gpu.launches.clear()
    return gpu.launches


def pointers(launch, dtype):
    return [a for a in launch.arguments if isinstance(a, torch.Tensor) and a.dtype == dtype]


def integers(launch):
    return [a for a in launch.arguments if type(a) is int]


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
def test_streaming(launches, monkeypatch, precision):
    from craft_kernels.residual_quantize.triton import launch, plan

    monkeypatch.setenv("CRAFT_KERNELS_PATH", "streaming")
    monkeypatch.setenv("CRAFT_KERNELS_PRECISION", precision)
    book = FrozenCodebook(torch.randn(K, D), L)
    codes, quantized, norms = launch.residual_quantize(torch.randn(N, D), book._codewords, L, True)
    assert (codes.shape, quantized.shape, norms.shape) == ((N, L), (N, D), (N, L))
    assert [x.kernel for x in launches] == ["screen", "settle"] * L
    tiles = plan.tiles(launch.current_target(), precision, D)
    groups = -(-K // launch.GROUP)
    for level, (screen, settle) in enumerate(zip(launches[::2], launches[1::2], strict=True)):
        assert screen.grid == (-(-N // tiles.BLOCK_N) * -(-K // tiles.BLOCK_K), 1, 1)
        assert integers(screen)[:4] == [N, K, D, groups]
        assert settle.grid == (N, 1, 1)
        assert integers(settle)[:5] == [level, K, D, groups, L]
        (maxima,) = (a for a in pointers(settle, torch.float32) if a.shape == (N, groups))
        assert maxima is screen.arguments[3]
        operand = torch.bfloat16 if precision == "bf16" else torch.float32
        assert [a.dtype for a in screen.arguments[:2]] == [operand, operand]


def test_gram(launches, monkeypatch):
    from craft_kernels.residual_quantize.triton import launch

    monkeypatch.setenv("CRAFT_KERNELS_PATH", "gram")
    book = FrozenCodebook(torch.randn(K, D), L)
    launch.residual_quantize(torch.randn(N, D), book._codewords, L, True)
    (walk,) = launches
    assert walk.kernel == "gram_walk"
    assert walk.grid == (N, 1, 1)
    assert integers(walk)[:3] == [K, D, L]
    assert [a.shape for a in pointers(walk, torch.float32)[-2:]] == [(K, K), (N, K)]


@pytest.mark.parametrize("shared", [True, False])
def test_fused(launches, monkeypatch, shared):
    from craft_kernels.residual_quantize.triton import launch, plan

    monkeypatch.setenv("CRAFT_KERNELS_PATH", "fused")
    book = FrozenCodebook(torch.randn(*(() if shared else (L,)), K, D), L)
    launch.residual_quantize(torch.randn(N, D), book._codewords, L, True)
    (fused,) = launches
    assert fused.kernel == "fused_levels"
    tiles = plan.fused_tiles(launch.current_target(), D)
    assert tiles is not None
    assert fused.grid == (-(-N // tiles.BLOCK_N), 1, 1)
    books = 1 if shared else L
    assert integers(fused)[:5] == [N, K, D, L, books]
    assert [tuple(a.shape) for a in fused.arguments[4:9]] == [
        *([(books, K, D)] * 2),
        *([(books, K)] * 2),
        (books, 3),
    ]


@pytest.mark.parametrize("path", ["streaming", "fused"])
def test_another_number_of_tokens_compiles_nothing(launches, monkeypatch, path):
    from craft_kernels.residual_quantize.triton import fused, launch, streaming

    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    if path == "streaming":
        monkeypatch.setenv("CRAFT_KERNELS_PRECISION", "ieee")
    book = FrozenCodebook(torch.randn(K, D), L)

    def versions():
        return [
            len(kernel.device_caches[device][0])
            for kernel in (streaming.screen, streaming.settle, fused.fused_levels)
            for device in kernel.device_caches
        ]

    launch.residual_quantize(torch.randn(N, D), book._codewords, L, True)
    before = versions()
    for tokens in (1, 16, 64, 129):
        launch.residual_quantize(torch.randn(tokens, D), book._codewords, L, True)
    assert versions() == before


def test_gradient(launches):
    from craft_kernels.residual_quantize.triton import launch

    z, words = torch.randn(N, D), torch.randn(L, K, D)
    codes, norms = torch.zeros(N, L, dtype=torch.int64), torch.zeros(N, L)
    launch.residual_sq_norms_backward(z, words, codes, norms, None)
    (gradient,) = launches
    assert gradient.grid == (-(-N // 16), 1, 1)
    assert integers(gradient)[:4] == [N, D, L, K * D]


def test_prune_order(launches):
    from craft_kernels.prune.triton import launch

    ids = torch.zeros(3, 35, dtype=torch.int64)
    order = launch.prune_order(ids, torch.zeros(3, 35), torch.ones(9), (5, 7), 4, 0.5)
    assert order.shape == (3, 35)
    names = ["measure_cues", "score_tokens", "find_critical_values", "place_tokens"]
    assert [x.kernel for x in launches] == names
    assert {x.grid for x in launches} == {(3 * 3, 1, 1)}  # images x blocks of 16 tokens
    assert integers(launches[0])[:3] == [35, 7, 4]
