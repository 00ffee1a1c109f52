"""A FrozenCodebook cannot change, and says so when somebody tries."""

import copy
import gc
import pickle

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
    for name in ("tensor", "levels", "handle"):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)


def test_writing_to_the_tensor_is_noticed(words):
    frozen = FrozenCodebook(words, 2)
    z = torch.zeros(3, 6)
    residual_quantize(z, frozen)
    frozen.tensor[0, 0] += 1
    with pytest.raises(ValueError, match="written to in place; make a new one"):
        residual_quantize(z, frozen, impl="native")
    with pytest.raises(ValueError, match="written to in place; make a new one"):
        residual_quantize(z, frozen, impl="reference")


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
        assert other.tensor.data_ptr() != frozen.tensor.data_ptr()
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
