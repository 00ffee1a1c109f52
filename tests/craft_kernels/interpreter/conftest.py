"""Runs Triton kernels in Triton's interpreter, on CPU tensors, with the arithmetic of a GPU.

Where TRITON_INTERPRET is not set, these tests do not exist: `make test-interpreter` sets it, in a
process of its own, because Triton reads it once.
"""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def arithmetic():
    """The module interpreter_arithmetic, in force."""
    if collect_ignore_glob:
        pytest.skip("this lane needs TRITON_INTERPRET=1: run `make test-interpreter`")
    pytest.importorskip("triton", reason="this lane needs triton: pip install triton")
    path = Path(__file__).with_name("interpreter_arithmetic.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    with module.installed():
        yield module


@pytest.fixture
def noisy(arithmetic):
    """Every product is off by three quarters of what a sum of its length may lose."""
    arithmetic.noise = 0.75
    yield
    arithmetic.noise = 0.0


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
