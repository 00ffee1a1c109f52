"""Every argument that cannot be used is a ValueError that names it and says what to do."""

import math

import pytest
import torch

from craft_kernels import FrozenCodebook, backends, residual_quantize

Z = torch.zeros(2, 3, 4)
WORDS = torch.eye(4)


@pytest.mark.parametrize(
    ("z", "codebook", "levels", "message"),
    [
        (Z.double(), WORDS, 2, r"z must be float32.*float64.*z\.float\(\)"),
        (Z.long(), WORDS, 2, r"z must be float32.*int64"),
        (Z.tolist(), WORDS, 2, r"z must be a tensor, got list"),
        (Z.to("meta"), WORDS, 2, r"z is on meta and codebook on cpu: pass codebook\.to"),
        (torch.tensor(1.0), WORDS, 2, r"z must be \[\.\.\., D\] with D=4.*got shape \(\)"),
        (Z[..., :3], WORDS, 2, r"D=4 as in codebook \(4, 4\), got shape \(2, 3, 3\)"),
        (Z, WORDS.double(), 2, r"codebook must be float32.*float64"),
        (Z, WORDS[0], 2, r"codebook must be \[K, D\].*got shape \(4,\)"),
        (Z, WORDS[:0], 2, r"at least one codeword, got shape \(0, 4\)"),
        (Z, WORDS.to("meta"), 2, r"z is on cpu and codebook on meta: pass codebook\.to"),
        (Z, WORDS.clone().requires_grad_(), 2, r"frozen.*pass codebook\.detach\(\)"),
        (Z, WORDS, None, r"levels is missing.*pass levels="),
        (Z, WORDS, 0, r"levels must be an integer >= 1, got 0"),
        (Z, WORDS, 2.0, r"levels must be an integer >= 1, got 2\.0"),
        (Z, WORDS, True, r"levels must be an integer >= 1, got True"),
        (Z, WORDS.expand(3, 4, 4), 2, r"levels is 2.*L=3.*codebook\[:levels\]"),
    ],
)
def test_bad_arguments(z, codebook, levels, message):
    with pytest.raises(ValueError, match=message):
        residual_quantize(z, codebook, levels)


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_first_position_that_is_not_finite(impl, value):
    z = torch.zeros(2, 3, 4)
    z[1, 0, 2] = value
    z[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=rf"z must be finite, got {value} at position \(1, 0, 2\)"):
        residual_quantize(z, WORDS, 2, impl=impl)
    words = WORDS.repeat(2, 1, 1)
    words[1, 3, 0] = value
    message = rf"codebook must be finite, got {value} at position \(1, 3, 0\)"
    with pytest.raises(ValueError, match=message):
        residual_quantize(Z, words, impl=impl)
    with pytest.raises(ValueError, match=message):
        FrozenCodebook(words)


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_residual_that_overflows(impl):
    with pytest.raises(ValueError, match=r"z is too large.*scale z and codebook down"):
        residual_quantize(torch.tensor([[3e38]]), torch.tensor([[-3e38]]), 2, impl=impl)


def test_unknown_impl():
    with pytest.raises(ValueError, match="'triton', 'cuda', 'reference', got 'metal'"):
        residual_quantize(Z, WORDS, 2, impl="metal")


def test_without_the_compiled_module(monkeypatch):
    backends.native_module.cache_clear()
    monkeypatch.setattr(backends, "_import_native", lambda: ImportError("no such file"))
    try:
        with pytest.raises(ImportError, match=r"impl='native' needs.*no such file.*'reference'"):
            residual_quantize(Z, WORDS, 2, impl="native")
        assert residual_quantize(Z, WORDS, 2).codes.shape == (2, 3, 2)
        assert backends.backend_info().impl == "reference"
        assert "no such file" in backends.backend_info().reason
    finally:
        backends.native_module.cache_clear()


def test_unknown_isa(monkeypatch):
    pytest.importorskip("craft_kernels._native")
    monkeypatch.setenv("CRAFT_KERNELS_ISA", "mmx")
    backends.native_module.cache_clear()
    try:
        with pytest.raises(ValueError, match="got 'mmx'"):
            residual_quantize(Z, WORDS, 2, impl="native")
    finally:
        backends.native_module.cache_clear()
