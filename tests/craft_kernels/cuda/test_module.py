"""The module that nvcc built: it loads without a GPU, takes what the wrappers hand over, and its
kernels read their arguments where the host puts them."""

import ctypes
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import torch

from craft_kernels import FrozenCodebook
from craft_kernels.prune import cuda as prune
from craft_kernels.residual_quantize import cuda as quantize

_cuda = pytest.importorskip(
    "craft_kernels._cuda", reason="the CUDA kernels were not built: nvcc was not found"
)

KERNELS = {  # entry function: its parameters
    "measure_cues": ("PruneOrderArgs", "scratch"),
    "score_token": ("PruneOrderArgs", "scratch"),
    "set_critical_value": ("PruneOrderArgs", "scratch"),
    "place_token": ("PruneOrderArgs", "scratch"),
    "gram_walk": ("GramWalkArgs",),
    "gradient_kernel": ("GradientArgs",),
}


def call_wrappers():
    ids = torch.zeros(2, 6, dtype=torch.int64)
    prune.prune_order(ids, torch.zeros(2, 6), torch.ones(3), (2, 3), 4, 0.5)
    z, frozen = torch.zeros(2, 4), FrozenCodebook(torch.eye(4), 2)
    codes, _, norms = quantize.residual_quantize(z, frozen._codewords, 2)
    quantize.residual_sq_norms_backward(z, frozen.tensor, codes, norms, None)


def test_wrappers_name_the_arguments_of_the_module(on_host):
    call_wrappers()
    assert [name for name, _ in on_host.calls] == [
        "prune_order",
        "gram_walk",
        "add_sq_norms_gradient",
    ]
    for name, arguments in on_host.calls:
        signature = getattr(_cuda, name).__doc__.splitlines()[0]
        assert set(re.findall(r"(\w+): ", signature)) == arguments


def test_constants_agree(on_host):
    assert on_host.GRAM_WALK_MAX_K == _cuda.GRAM_WALK_MAX_K
    assert on_host.prune_scratch_bytes(7) == _cuda.prune_scratch_bytes(7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_driver_is_what_is_missing(on_host, monkeypatch):
    for module in (prune, quantize):
        monkeypatch.setattr(module, "cuda_module", lambda: _cuda)
    with pytest.raises(RuntimeError, match=r"^CUDA: .*(driver|device)"):
        call_wrappers()


def test_no_cuda_library_is_needed_to_load_it():
    needed = subprocess.run(["ldd", _cuda.__file__], capture_output=True, text=True, check=True)
    assert "cuda" not in needed.stdout.replace(str(_cuda.__file__), "")


def inspect(*options):
    found = importlib.util.find_spec("triton")
    if found is None or found.origin is None:
        pytest.skip("needs cuobjdump, which comes with triton")
    tool = Path(found.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run(
        [str(tool), *options, str(_cuda.__file__)], capture_output=True, text=True, check=True
    ).stdout


def test_code_for_three_architectures_and_ptx_for_the_others():
    for listed, expected in (("-lelf", {"80", "90a", "100a"}), ("-lptx", {"80"})):
        assert set(re.findall(r"sm_(\w+)", inspect(listed))) == expected


def test_ptx(on_host):
    """Structures have the size that the host gives them, and nothing is fused or flushed."""
    sizes = {"scratch": 2 * ctypes.sizeof(ctypes.c_void_p)}
    sizes |= {s.__name__: ctypes.sizeof(s) for s in on_host.structures}
    ptx = inspect("-ptx")
    entries = re.findall(r"\.entry (\w+)\((.*?)\)", ptx, re.DOTALL)
    found = {}
    for name, parameters in entries:
        (kernel,) = (k for k in KERNELS if k in name)
        found[kernel] = [int(n) for n in re.findall(r"\.b8 \w+\[(\d+)\]", parameters)]
    assert found == {k: [sizes[p] for p in parameters] for k, parameters in KERNELS.items()}
    assert not re.search(r"\bfma\.", ptx)
    assert not re.search(r"\b(?:add|sub|mul|div|sqrt)\.\S*(?:ftz|approx|full)", ptx)
