"""A FrozenCodebook cannot change, and says so when somebody tries."""

import copy
import gc
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from craft_kernels import FrozenCodebook, frozen_codebook, residual_quantize


@pytest.fixture
def words():
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def test_is_a_copy(words):
    frozen = FrozenCodebook(words, 2)
    before = words.clone()
    words.zero_()
    assert torch.equal(frozen.tensor, before)


def test_attributes_cannot_be_set(words):
    frozen = FrozenCodebook(words, 2)
    for name in ("tensor", "shape", "device", "levels", "handle"):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)


WRITES = {
    "in place": lambda tensor: tensor.mul_(-1),
    ".data": lambda tensor: tensor.data.mul_(-1),
    ".numpy()": lambda tensor: tensor.numpy().__imul__(-1),
    "storage": lambda tensor: tensor.untyped_storage().fill_(7),
    "resized storage": lambda tensor: tensor.untyped_storage().resize_(0),
    "DLPack": lambda tensor: torch.from_dlpack(tensor).mul_(-1),
}


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("path", ["gram", "streaming"])
@pytest.mark.parametrize("way", WRITES)
def test_writing_to_what_is_handed_out_changes_nothing(words, way, path, impl, monkeypatch):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
    frozen, z = FrozenCodebook(words, 3), torch.randn(50, 6)
    before = residual_quantize(z, frozen, impl=impl)
    WRITES[way](frozen.tensor)
    WRITES[way](frozen.words(torch.arange(40)))
    for old, new in zip(before, residual_quantize(z, frozen, impl=impl), strict=True):
        assert torch.equal(old, new)
    assert torch.equal(frozen.tensor, words)


def test_multiprocessing_takes_a_copy(words):
    """Its pickler moves the memory of a tensor elsewhere; kernels would read what was freed."""
    frozen, z = FrozenCodebook(words, 2), torch.randn(50, 6)
    address = frozen._tensor.data_ptr()
    ForkingPickler.dumps(frozen)
    assert frozen._tensor.data_ptr() == address
    assert torch.equal(
        residual_quantize(z, frozen).codes, residual_quantize(z, words, 2, impl="reference").codes
    )


def test_writing_in_place_to_what_is_private_is_noticed(words):
    frozen = FrozenCodebook(words, 2)
    z = torch.zeros(3, 6)
    residual_quantize(z, frozen)
    frozen._tensor[0, 0] += 1
    for impl in ("native", "reference"):
        with pytest.raises(ValueError, match="written to in place; make a new one"):
            residual_quantize(z, frozen, impl=impl)


@pytest.mark.parametrize("shape", [(40, 6), (3, 40, 6)])
def test_words(shape):
    table = torch.randn(shape)
    frozen = FrozenCodebook(table, 3)
    assert (frozen.shape, frozen.device) == (table.shape, table.device)
    codes = torch.randint(40, (2, 5))
    for level in range(3):
        assert torch.equal(frozen.words(codes, level), table.expand(3, 40, 6)[level][codes])
    for code in (-1, 40):
        with pytest.raises(IndexError):
            frozen.words(torch.tensor([code]))


def test_levels(words):
    z = torch.zeros(3, 6)
    assert residual_quantize(z, FrozenCodebook(words, 2)).codes.shape == (3, 2)
    assert residual_quantize(z, FrozenCodebook(words, 2), 5).codes.shape == (3, 5)
    assert residual_quantize(z, FrozenCodebook(words.expand(3, 40, 6))).codes.shape == (3, 3)
    with pytest.raises(ValueError, match="levels is missing"):
        residual_quantize(z, FrozenCodebook(words))
    with pytest.raises(ValueError, match="levels is 2"):
        FrozenCodebook(words.expand(3, 40, 6), 2)
    with pytest.raises(ValueError, match="gram_bytes"):
        FrozenCodebook(words, gram_bytes=-1)


def test_copies_work_and_share_nothing(words):
    frozen = FrozenCodebook(words, 2, gram_bytes=1000)
    z = torch.randn(9, 6)
    codes = residual_quantize(z, frozen).codes
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert other.handle != frozen.handle
        assert other._tensor.data_ptr() != frozen._tensor.data_ptr()
        assert torch.equal(residual_quantize(z, other).codes, codes)


def test_is_not_kept_alive(words):
    frozen = FrozenCodebook(words, 2)
    residual_quantize(torch.randn(9, 6), frozen)
    handle = frozen.handle
    del frozen
    gc.collect()
    assert handle not in frozen_codebook._alive


def test_warm_calls_compute_no_gram_rows(words, monkeypatch):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "gram")
    frozen = FrozenCodebook(words, 3)
    z = torch.randn(50, 6)
    residual_quantize(z, frozen)
    held = frozen.gram_nbytes
    assert held > 0
    residual_quantize(z, frozen)
    assert frozen.gram_nbytes == held
