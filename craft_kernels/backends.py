"""Which implementation runs, and why: the native module where it was built, else the reference."""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import NamedTuple

IMPLS = ("auto", "native", "reference")


class BackendInfo(NamedTuple):
    """What ``impl="auto"`` stands for in this process."""

    impl: str  # "native" or "reference"
    reason: str
    isa: str | None  # instruction set of the native kernels


@functools.cache
def _import_native() -> ModuleType | ImportError:
    """The module, or why it cannot be had; a failure is kept so that retries cost nothing."""
    try:
        return importlib.import_module("craft_kernels._native")
    except ImportError as error:
        return error


@functools.cache
def native_module() -> ModuleType:
    """The compiled module; ImportError says how to get it.

    The environment variable CRAFT_KERNELS_ISA (baseline, avx2, avx512, amx) forces an instruction
    set; ValueError if this build or processor lacks it.
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


def check_impl(impl: str) -> None:
    if impl not in IMPLS:
        raise ValueError(f"impl must be one of {', '.join(map(repr, IMPLS))}, got {impl!r}")


def resolve_impl(impl: str) -> str:
    """ "native" or "reference"; a named implementation is taken at its word."""
    if impl == "auto":
        return "reference" if isinstance(_import_native(), ImportError) else "native"
    return impl


def backend_info() -> BackendInfo:
    """What ``impl="auto"`` picks here, and why."""
    module = _import_native()
    if isinstance(module, ImportError):
        return BackendInfo("reference", f"the compiled module cannot be imported: {module}", None)
    isa = native_module().isa()
    return BackendInfo("native", f"the compiled module is installed and runs its {isa} code", isa)
