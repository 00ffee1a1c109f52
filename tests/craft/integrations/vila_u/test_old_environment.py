"""The drop-in in VILA-U's environment: torch 2.3, pydantic 1, transformers 4.

It is simulated here; `make test-old-torch` runs the same in a real one.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
RUN = """
import importlib.abc, importlib.machinery, runpy, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

import torch
sys.meta_path.insert(0, Refuse())
for name in {names!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
# As in torch 2.3, which calls it so and takes no more than this.
modern = torch.library.register_fake
del torch.library.register_fake
def impl_abstract(qualname, func=None, *, lib=None, _stacklevel=1):
    return modern(qualname, func, lib=lib)
torch.library.impl_abstract = impl_abstract
sys.argv = ["drop_in", {folder!r}]
runpy.run_module("tests.craft.integrations.vila_u.drop_in", run_name="__main__")
loaded = {names!r} & {{name.split(".")[0] for name in sys.modules}}
assert not loaded, loaded
"""
#: Modules of all dependencies except torch, numpy and safetensors.
OTHERS = {
    *("transformers", "accelerate", "tokenizers", "sentencepiece", "pyarrow", "PIL", "pydantic"),
    *("yaml", "typer", "rich", "matplotlib", "jinja2"),
}


def test_the_drop_in_needs_torch_numpy_and_safetensors_alone(tmp_path):
    program = RUN.format(names=OTHERS, folder=str(tmp_path))
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "BackendInfo" in result.stdout


def test_no_dependency_is_missing_from_the_list():
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.S | re.M)
    assert listed is not None
    modules = {"pillow": "PIL", "pyyaml": "yaml"}
    named = set(re.findall(r'^ +"([\w-]+)', listed[1], re.M)) - {"torch", "numpy", "safetensors"}
    assert {modules.get(name, name) for name in named} == OTHERS


def test_a_triton_that_is_too_old_is_passed_over(monkeypatch):
    """torch 2.3 comes with Triton 2.3, which has another interface."""
    import torch

    from craft_kernels import backends

    class Old:
        __version__ = "2.3.1"

    monkeypatch.setattr(backends.importlib, "import_module", lambda name: Old)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    backends._import_triton.cache_clear()
    try:
        info = backends.backend_info("cuda")
        assert (info.impl, info.isa) == ("reference", None)
        assert "triton 2.3.1, 3.4 or newer is needed" in info.reason
        with pytest.raises(ImportError, match=r"triton 2\.3\.1, 3\.4 or newer is needed"):
            backends.resolve_impl("triton", torch.zeros(1))
    finally:
        backends._import_triton.cache_clear()
