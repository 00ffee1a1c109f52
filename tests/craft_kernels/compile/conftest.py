"""Compiles the Triton kernels for GPUs that are not there.

A driver that says it has the GPU stands in for the real one: the wrappers run as they are, on CPU
tensors, Triton compiles what they ask for, and the launch is written down instead of made. Runs
only in a process of its own (`make test-compile`), because it replaces Triton's driver.
"""

import os
from typing import Any, NamedTuple

import pytest

collect_ignore_glob = [] if os.environ.get("CRAFT_COMPILE_LANE") == "1" else ["test_*.py"]

TARGETS = {
    "sm_80": ("cuda", 80, 32, 163 << 10),
    "sm_90": ("cuda", 90, 32, 227 << 10),
    "sm_100": ("cuda", 100, 32, 227 << 10),
    "gfx942": ("hip", "gfx942", 64, 64 << 10),
}


class Launch(NamedTuple):
    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...]


class AbsentGpu:
    """What Triton asks of a driver, answered for a GPU that is not there."""

    def __init__(self, name: str) -> None:
        from triton.backends.compiler import GPUTarget

        self.name = name
        backend, arch, warp_size, self.max_shared = TARGETS[name]
        self.target = GPUTarget(backend, arch, warp_size)
        self.device = 1000 + list(TARGETS).index(name)  # kernels are cached by device
        self.launches: list[Launch] = []
        self.utils = self

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return self.device

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        import torch

        return torch.device("cpu")

    def get_device_properties(self, device):
        return {"max_shared_mem": self.max_shared}

    def load_binary(self, name, binary, shared, device):
        return None, name, 0, 0, 1024  # module, function, registers, spills, threads

    def launcher_cls(self, source, metadata):
        def launch(x, y, z, stream, function, packed, launch_metadata, enter, leave, *arguments):
            self.launches.append(Launch(metadata.name, (x, y, z), arguments))

        return launch


@pytest.fixture(scope="module", params=TARGETS)
def gpu(request):
    pytest.importorskip("triton", reason="this lane needs triton: pip install triton")
    from triton.runtime import driver

    gpu: Any = AbsentGpu(request.param)
    driver.set_active(gpu)
    return gpu
