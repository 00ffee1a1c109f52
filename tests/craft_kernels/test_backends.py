"""Which implementation runs, and what is said when it cannot."""

import importlib.util
import os

import pytest
import torch
from torch._subclasses import FakeTensorMode

from craft_kernels import backend_info, backends, prune_order, residual_quantize

Z, WORDS = torch.zeros(2, 4), torch.eye(4)
IDS = torch.zeros(1, 6, dtype=torch.int64)
has_triton = importlib.util.find_spec("triton") is not None


def calls(impl):
    yield lambda: residual_quantize(Z, WORDS, 2, impl=impl)
    yield lambda: prune_order(IDS, torch.zeros(1, 6), torch.ones(3), (2, 3), impl=impl)


@pytest.mark.skipif(not has_triton, reason="needs triton")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter is on")
def test_triton_on_the_cpu_is_an_error():
    for call in calls("triton"):
        with pytest.raises(ValueError, match=r"impl='triton' runs on GPUs.*TRITON_INTERPRET=1"):
            call()


def test_triton_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(backends, "_import_triton", lambda: ImportError("No module"))
    for call in calls("triton"):
        with pytest.raises(
            ImportError, match=r"impl='triton' needs.*No module.*pip install triton"
        ):
            call()
    assert backend_info("cuda").impl == "reference"
    assert "No module" in backend_info("cuda").reason


@pytest.mark.skipif(not has_triton, reason="needs triton")
def test_auto_on_a_gpu_is_triton_and_says_why():
    info = backend_info("cuda")
    assert info.impl == "triton"
    assert "triton 3." in info.reason


def test_cuda_on_the_cpu_is_an_error(monkeypatch):
    monkeypatch.setattr(backends, "_import_cuda", lambda: backends)
    for call in calls("cuda"):
        with pytest.raises(ValueError, match=r"impl='cuda' runs on NVIDIA GPUs.*on cpu: move them"):
            call()


def test_cuda_on_an_amd_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(backends, "_import_cuda", lambda: backends)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    with FakeTensorMode(), pytest.raises(ValueError, match="cuda:0 of an AMD GPU: move them"):
        backends.resolve_impl("cuda", torch.empty(3, device="cuda"))


def test_cuda_that_was_not_built(monkeypatch):
    monkeypatch.setattr(backends, "_import_cuda", lambda: ImportError("No module"))
    for call in calls("cuda"):
        with pytest.raises(
            ImportError, match=r"impl='cuda' needs.*No module.*nvcc 12.8.*CRAFT_CUDA=ON"
        ):
            call()
    with FakeTensorMode():
        assert backends.resolve_impl("auto", torch.empty(3, device="cuda")) != "cuda"


def test_native_on_a_gpu_is_an_error():
    with FakeTensorMode(), pytest.raises(ValueError, match=r"impl='native' runs on the CPU.*cuda"):
        backends.resolve_impl("native", torch.empty(3, device="cuda"))


def test_plan_of_a_frozen_codebook_with_room_is_gram():
    plan = pytest.importorskip("craft_kernels.residual_quantize.triton.plan")
    chosen = plan.choose(("cuda", 90), 256, 16384, 1024, 4, gram_allowed=True)
    assert chosen.path == "gram"
    assert "modelled: gram" in chosen.reason
    assert plan.choose(("cuda", 90), 256, 16384, 1024, 4, gram_allowed=False).path == "streaming"
    assert plan.choose(("cuda", 90), 256, 65536, 64, 4, gram_allowed=True).path == "streaming"
    assert plan.choose(("cuda", 90), 8192, 512, 64, 8, gram_allowed=False).path == "fused"
    assert plan.choose(("cuda", 90), 8192, 1024, 256, 8, gram_allowed=False).path == "streaming"
    assert plan.choose(("cuda", 75), 8192, 1024, 64, 8, gram_allowed=False).path == "streaming"
    assert plan.choose(("hip", "gfx942"), 8, 64, 64, 1, gram_allowed=False).precision == "bf16x3"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CRAFT_KERNELS_PATH", "gram", "needs a FrozenCodebook shared by all levels"),
        ("CRAFT_KERNELS_PATH", "fused", "needs D <= 128 here, got D = 1024; unset it"),
        ("CRAFT_KERNELS_PATH", "tree", "must be gram, streaming or fused, got 'tree'"),
        ("CRAFT_KERNELS_PRECISION", "fp8", "must be one of ieee, tf32x3.*got 'fp8'"),
    ],
)
def test_overrides_that_cannot_be(monkeypatch, variable, value, message):
    from craft_kernels.residual_quantize.triton import plan

    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        plan.choose(("cuda", 90), 256, 16384, 1024, 4, gram_allowed=False)
