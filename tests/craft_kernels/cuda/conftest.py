"""The CUDA kernels' code compiled by the host's compiler, in the place of craft_kernels._cuda: the
wrappers run as they are, on CPU tensors. What only a GPU has (launches, warps, barriers) is not in
it; the order in which threads run can be turned round."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[2] / "csrc"
# IEEE arithmetic as written, as nvcc is told with --fmad=false.
OPTIONS = ["-std=c++20", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-DCRAFT_ISA=cuda"]


def structure(name, integers, doubles, pointers, order):
    kinds = dict.fromkeys(integers.split(), ctypes.c_int64)
    kinds |= dict.fromkeys(doubles.split(), ctypes.c_double)
    kinds |= dict.fromkeys(pointers.split(), ctypes.c_void_p)
    fields = [(field, kinds[field]) for field in order.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


# csrc/prune_order_args.h and csrc/cuda/launch.h, field by field.
PruneOrderArgs = structure(
    "PruneOrderArgs",
    "height width neighbors",
    "isolation_weight",
    "ids residual_sq prior log_counts distances offsets order",
    "height width neighbors isolation_weight"
    " ids residual_sq prior log_counts distances offsets order",
)
GramWalkArgs = structure(
    "GramWalkArgs",
    "N K D L",
    "max_norm product_unit rounding",
    "words half_sq_norms half_sq_norms64 gram products residual quantized codes sq_norms",
    "N K D L words half_sq_norms half_sq_norms64 gram products"
    " max_norm product_unit rounding residual quantized codes sq_norms",
)
GradientArgs = structure(
    "GradientArgs",
    "N D L level_stride",
    "",
    "z words codes grad_sq_norms grad",
    "N D L level_stride z words codes grad_sq_norms grad",
)


class HostModule:
    """What craft_kernels._cuda has, for CPU tensors."""

    GRAM_WALK_MAX_K = 24 << 10
    structures = (PruneOrderArgs, GramWalkArgs, GradientArgs)
    threads, descending = 32, False

    def __init__(self, library):
        self._library = library
        self.prune_scratch_bytes = library.prune_scratch_bytes
        self.calls = []

    def prune_order(self, *, batch, scratch, stream, **fields):
        self.calls.append(("prune_order", {"batch", "scratch", "stream", *fields}))
        args = PruneOrderArgs(**fields)
        self._library.prune_order(
            ctypes.byref(args), ctypes.c_int64(batch), ctypes.c_void_p(scratch)
        )

    def gram_walk(self, *, stream, **fields):
        self.calls.append(("gram_walk", {"stream", *fields}))
        args = GramWalkArgs(**fields)
        scores = (ctypes.c_float * args.K)()
        self._library.gram_walk(ctypes.byref(args), scores, self.threads, self.descending)

    def add_sq_norms_gradient(self, *, stream, **fields):
        self.calls.append(("add_sq_norms_gradient", {"stream", *fields}))
        self._library.add_sq_norms_gradient(ctypes.byref(GradientArgs(**fields)))


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler on PATH: set CXX")
    library = tmp_path_factory.mktemp("cuda") / "on_host.so"
    subprocess.run(
        [compiler, *OPTIONS, f"-I{CSRC}", str(HERE / "on_host.cpp"), "-o", str(library)], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.prune_scratch_bytes.restype = ctypes.c_int64
    return loaded


@pytest.fixture
def on_host(library, monkeypatch):
    """The module, and the wrappers using it."""
    import torch

    from craft_kernels.prune import cuda as prune
    from craft_kernels.residual_quantize import cuda as quantize

    class Stream:
        cuda_stream = 0

    module = HostModule(library)
    monkeypatch.setattr(prune, "cuda_module", lambda: module)
    monkeypatch.setattr(quantize, "cuda_module", lambda: module)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream)
    return module


@pytest.fixture
def generator():
    import torch

    return torch.Generator().manual_seed(0)
