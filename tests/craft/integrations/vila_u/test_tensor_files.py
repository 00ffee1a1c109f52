"""Safetensors files by bytes, against the safetensors library."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from craft.integrations.vila_u.tensor_files import (
    read_header,
    same_bytes,
    stored_tensors,
    write_tensors,
)


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
    stored = stored_tensors(tmp_path / "x")
    assert same_bytes(stored["renamed"], tensors["b.weight"])
    assert not same_bytes(stored["renamed"], tensors["a"])
    assert not same_bytes(stored["a"], -tensors["a"])


def test_damage_is_found(tensors, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    whole = path.read_bytes()
    for bytes_ in (whole[:-1], whole + b"x"):
        path.write_bytes(bytes_)
        with pytest.raises(ValueError, match="its header says"):
            read_header(path)
    for bytes_ in (b"", b"12345678901", b"\xff" * 30):
        path.write_bytes(bytes_)
        with pytest.raises(ValueError, match="not a safetensors file"):
            read_header(path)


def test_folders(tensors, tmp_path):
    with pytest.raises(ValueError, match=r"holds no safetensors files$"):
        stored_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin: a pickle"):
        stored_tensors(tmp_path)
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"a": tensors["a"]}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="'a' in more than one file"):
        stored_tensors(tmp_path)
