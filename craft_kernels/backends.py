"""Which implementation runs, and why.

By default that is the native module on the CPU if it was built, Triton on a GPU if it is installed,
and the reference otherwise. The CUDA C++ kernels run only when asked for by name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from craft_kernels.triton_target import architecture, interpreting

IMPLS = ("auto", "native", "triton", "cuda", "reference")


class BackendInfo(NamedTuple):
    """What ``impl="auto"`` resolves to in this process."""

    impl: str  # "native", "triton" or "reference"
    reason: str
    isa: str | None  # instruction set of the native kernels, or architecture of the GPU


@functools.cache
def _import_native() -> ModuleType | ImportError:
    """The module, or why it cannot be imported. Failures are cached: retries cost nothing."""
    try:
        return importlib.import_module("craft_kernels._native")
    except ImportError as error:
        return error


@functools.cache
def native_module() -> ModuleType:
    """The compiled module.

    The environment variable CRAFT_KERNELS_ISA (baseline, avx2, avx512, avx512_bf16, amx) forces an
    instruction set.

    Raises:
        ImportError: the module is not installed; the message says how to get it.
        ValueError: this build or this processor lacks the instruction set asked for.
    """
    module = _import_native()
    if isinstance(module, ImportError):
        raise ImportError(
            f"impl='native' needs the compiled module craft_kernels._native ({module}); install a "
            "C++20 compiler and run pip install again, or choose impl='reference'"
        ) from module
    if forced := os.environ.get("CRAFT_KERNELS_ISA"):
        module.use_isa(forced)
    return module


@functools.cache
def _import_cuda() -> ModuleType | ImportError:
    try:
        return importlib.import_module("craft_kernels._cuda")
    except ImportError as error:
        return error


def cuda_module() -> ModuleType:
    """The CUDA C++ kernels; the ImportError raised without them says how to get them."""
    module = _import_cuda()
    if isinstance(module, ImportError):
        raise ImportError(
            f"impl='cuda' needs the compiled module craft_kernels._cuda ({module}), which is built "
            "where nvcc 12.8 or newer is found: put nvcc on PATH and run pip install again with "
            "-C cmake.define.CRAFT_CUDA=ON, or choose impl='triton'"
        ) from module
    return module


def check_impl(impl: str) -> None:
    if impl not in IMPLS:
        raise ValueError(f"impl must be one of {', '.join(map(repr, IMPLS))}, got {impl!r}")


@functools.cache
def _import_triton() -> ModuleType | ImportError:
    try:
        module = importlib.import_module("triton")
    except ImportError as error:
        return error
    if importlib.util.find_spec("triton.knobs") is None:  # Triton 2.3, which torch 2.3 installs
        return ImportError(f"it is triton {module.__version__}, 3.4 or newer is needed")
    return module


def resolve_impl(impl: str, tensor: Tensor) -> str:
    """The implementation for tensors on this tensor's device, never "auto".

    A named implementation either runs or raises; nothing else takes its place.
    """
    device = tensor.device
    if impl == "auto":
        return _automatic(device)
    if impl == "native" and device.type != "cpu":
        raise ValueError(
            f"impl='native' runs on the CPU, but the tensors are on {device}: move them with "
            ".cpu(), or choose impl='triton'"
        )
    if impl == "cuda":
        cuda_module()
        if device.type != "cuda" or torch.version.hip:
            raise ValueError(
                f"impl='cuda' runs on NVIDIA GPUs, but the tensors are on {device}"
                f"{' of an AMD GPU' if torch.version.hip else ''}: move them to one, or choose "
                "impl='auto'"
            )
    if impl == "triton":
        module = _import_triton()
        if isinstance(module, ImportError):
            raise ImportError(
                f"impl='triton' needs the package triton ({module}): pip install triton, or choose "
                "impl='reference'"
            ) from module
        if device.type == "cpu" and not interpreting():
            raise ValueError(
                "impl='triton' runs on GPUs, but the tensors are on the CPU: move them with "
                ".cuda(), choose impl='native', or set TRITON_INTERPRET=1 before Python starts to "
                "run the kernels in Triton's interpreter, which is slow"
            )
    return impl


def backend_info(device: torch.device | str = "cpu") -> BackendInfo:
    """What ``impl="auto"`` chooses for tensors on a device, and why."""
    device = torch.device(device)
    impl = _automatic(device)
    module = _import_native() if device.type == "cpu" else _import_triton()
    if isinstance(module, ImportError):
        what = "the compiled module" if device.type == "cpu" else "triton"
        return BackendInfo(impl, f"{what} cannot be imported: {module}", None)
    if device.type == "cpu":
        isa = native_module().isa()
        return BackendInfo(impl, f"the compiled module is installed and runs its {isa} code", isa)
    arch = architecture(device)
    return BackendInfo(impl, f"triton {module.__version__} is installed, for {arch}", arch)


def _automatic(device: torch.device) -> str:
    """What impl="auto" stands for; a small call's time depends on it, so reasons are left out."""
    if device.type == "cpu":
        return "reference" if isinstance(_import_native(), ImportError) else "native"
    return "reference" if isinstance(_import_triton(), ImportError) else "triton"
