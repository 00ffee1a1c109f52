"""Safetensors files written from bytes, read by the safetensors library."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from craft.integrations.vila_u.tensor_files import write_tensors
from craft.runtime.stored_tensors import read_header


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "b.weight": torch.randn(3, 5, generator=generator).bfloat16(),
        "a": torch.randn(7, generator=generator),
        "scalar": torch.tensor(2.5, dtype=torch.float16),
        "empty": torch.zeros(0, 4),
    }


def test_copies_are_what_the_library_reads(tensors, tmp_path):
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    held = read_header(tmp_path / "model.safetensors")
    assert held.metadata == {"format": "pt"}
    moved = {"renamed": held.tensors["b.weight"], **{n: held.tensors[n] for n in ("a", "empty")}}
    write_tensors(
        tmp_path / "x" / "out.safetensors", {**moved, "new": tensors["scalar"]}, {"k": "v"}
    )
    back = load_file(tmp_path / "x" / "out.safetensors")
    assert torch.equal(back["renamed"], tensors["b.weight"])
    assert torch.equal(back["a"], tensors["a"])
    assert back["empty"].shape == (0, 4)
    assert back["new"].dtype == torch.float16
    assert back["new"] == 2.5
    with safe_open(tmp_path / "x" / "out.safetensors", "pt") as file:
        assert file.metadata() == {"k": "v"}
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["out.safetensors"]
