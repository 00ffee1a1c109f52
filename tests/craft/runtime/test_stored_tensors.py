"""Damaged safetensors files are refused with one line that names the file and what it should be."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import (
    fill,
    read_header,
    read_tensor,
    read_tensors,
    tensor_files,
)
from tests.craft.runtime.broken_files import DAMAGE


@pytest.fixture
def path(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "b.weight": torch.randn(3, 5, generator=generator).bfloat16(),
        "a": torch.randn(7, generator=generator),
        "empty": torch.zeros(0, 4),
    }
    save_file(tensors, tmp_path / "model.safetensors", {"kind": "test"})
    return tmp_path / "model.safetensors"


def test_what_is_read_is_what_the_library_reads(path):
    expected = load_file(path)
    found = read_tensors(path, "a test")
    assert found.metadata == {"kind": "test"}
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], x) for name, x in expected.items())
    assert torch.equal(read_tensor(path, "a", "a test"), expected["a"])
    header = read_header(path).tensors
    raw = path.read_bytes()[header["a"].start : header["a"].end]
    assert torch.equal(torch.frombuffer(bytearray(raw), dtype=torch.float32), expected["a"])


@pytest.mark.parametrize("read", [read_tensors, read_header])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_with_the_file(path, read, damage):
    break_it, message = DAMAGE[damage]
    break_it(path)
    with pytest.raises(StoredFileError) as error:
        read(path, "the encoder's weights")
    assert str(error.value).startswith(f"{path}, the encoder's weights, ")
    assert message in str(error.value)


def changed_header(path, change):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["a"].update(shape=[8]),
        lambda h: h["a"].update(dtype="F33"),
        lambda h: h["a"].update(data_offsets=[4, 32]),
        lambda h: h["a"].pop("data_offsets"),
        lambda h: h.update({"b.weight": None}),
        lambda h: h.update(__metadata__={"kind": 3}),
    ],
)
def test_headers_that_contradict_the_file_are_refused(path, change):
    changed_header(path, change)
    for read in (read_tensors, read_header):
        with pytest.raises(StoredFileError, match="not a whole safetensors file"):
            read(path, "a test")


@pytest.mark.parametrize("content", [b"12345678901", b"\xff" * 30, b"{}" * 20])
def test_other_content_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(StoredFileError, match="not a whole safetensors file"):
        read_header(path)


def test_bytes_behind_the_last_tensor_are_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StoredFileError, match="not a whole safetensors file"):
        read_header(path)


def test_a_hundred_random_flips_never_escape(path):
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(3)
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        for place in torch.randint(len(data), (3,), generator=generator).tolist():
            data[place] ^= 1 << int(torch.randint(8, (), generator=generator))
        path.write_bytes(bytes(data))
        try:
            read_tensors(path, "a test")
        except StoredFileError:
            refused += 1
    assert refused > 30


def test_folders(path):
    folder = path.parent
    save_file({"a": torch.zeros(1)}, folder / "b.safetensors")
    with pytest.raises(StoredFileError, match="'a' in more than one file"):
        tensor_files(folder)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(StoredFileError, match=r"holds no safetensors files$"):
        tensor_files(folder)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(StoredFileError, match=r"only pytorch_model\.bin: a pickle"):
        tensor_files(folder)


def test_a_shard_that_the_index_names_must_be_there(path):
    index = {"weight_map": {"a": path.name, "c": "model-00002-of-00002.safetensors"}}
    (path.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(StoredFileError, match=r"model-00002-of-00002\.safetensors, .*is missing"):
        tensor_files(path.parent)


@pytest.mark.parametrize("shard", ["../other.safetensors", "/etc/passwd", "a\0b", "sub/../../x"])
def test_an_index_names_no_shards_elsewhere(path, shard):
    folder = path.parent / "model"
    folder.mkdir()
    path.rename(folder / path.name)
    index = {"weight_map": {"a": path.name, "c": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        StoredFileError, match=r"index\.json, the index of .* names .*(out of|no path)"
    ):
        tensor_files(folder)


def test_modules_take_exactly_their_own_weights():
    module = nn.Linear(3, 2)
    weights = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    fill(module, weights, "x")
    assert torch.equal(module.weight, weights["weight"])
    with pytest.raises(StoredFileError, match=r"x does not hold .* missing \['bias'\] \(1\)"):
        fill(module, {"weight": weights["weight"]}, "x")
    with pytest.raises(StoredFileError, match=r"x holds weight of shape \(2, 4\), .* \(2, 3\)"):
        fill(module, weights | {"weight": torch.ones(2, 4)}, "x")
