"""Levels that see the residual through projections, against rational numbers and brute force."""

import copy
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from craft_kernels.projected_codes import Level, LiveProjections

L, K, D, SHORT = 4, 30, 24, 3  # 128 codewords are looked through in blocks


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def levels(size=K):
    return [
        Level(
            noise(SHORT, D, seed=10 * i),
            noise(SHORT, seed=10 * i + 1),
            noise(D, SHORT, seed=10 * i + 2),
            noise(D, seed=10 * i + 3),
            noise(size, SHORT, seed=10 * i + 4),
        )
        for i in range(L)
    ]


def exact_codes(z, parts, cosine):
    """By rational numbers throughout."""

    def exact(tensor):
        return [Fraction(value) for value in tensor.float().tolist()]

    def dot(x, y):
        return sum(a * b for a, b in zip(x, y, strict=True))

    found = []
    for token in z:
        residual, codes = exact(token), []
        for part in parts:
            searched = F.normalize(part.words, dim=1) if cosine else part.words
            seen = [
                dot(exact(row), residual) + b
                for row, b in zip(part.into, exact(part.into_bias), strict=True)
            ]
            scores = []
            for word in searched:
                word = exact(word)
                scores.append(dot(seen, word) - (0 if cosine else dot(word, word) / 2))
            codes.append(scores.index(max(scores)))
            chosen = exact(part.words[codes[-1]])
            residual = [
                r - dot(exact(row), chosen) - b
                for r, row, b in zip(residual, part.out, exact(part.out_bias), strict=True)
            ]
        found.append(codes)
    return torch.tensor(found)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_codes_are_those_of_rational_numbers(cosine, dtype):
    z = noise(6, D, seed=3).to(dtype)
    parts = [Level(*(tensor.to(dtype) for tensor in level)) for level in levels()]
    found = LiveProjections(cosine=cosine).codes(z, parts)
    assert torch.equal(found.codes, exact_codes(z, parts, cosine))


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("size", [K, 128, 1])
def test_brute_force_in_float64(cosine, size):
    z, parts = noise(3, 200, D, seed=3), levels(size)
    found = LiveProjections(cosine=cosine).codes(z, parts)
    residual = z.double()
    for level, part in enumerate(parts):
        seen = residual @ part.into.double().T + part.into_bias
        words = part.words.double()
        searched = F.normalize(part.words, dim=1).double() if cosine else words
        scores = seen @ searched.T - (0 if cosine else 0.5 * words.square().sum(1))
        codes = scores.argmax(-1)
        assert torch.equal(found.codes[..., level], codes)
        torch.testing.assert_close(found.seen[..., level, :], seen.float())
        residual = residual - words[codes] @ part.out.double().T - part.out_bias


def whole_numbers(*shape, seed=0):
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("size", [K, 128])
def test_ties_go_to_the_lowest_code(cosine, size):
    parts = [
        Level(*(whole_numbers(*t.shape, seed=7 * i + j) for j, t in enumerate(level)))
        for i, level in enumerate(levels(size))
    ]
    for part in parts:
        part.words[size // 2 :] = part.words[: size // 2]
        if cosine:
            part.words.abs_().add_(1)
    z = whole_numbers(20, D, seed=5)
    found = LiveProjections(cosine=cosine).codes(z, parts)
    assert torch.equal(found.codes, exact_codes(z, parts, cosine))
    assert int(found.codes.max()) < size // 2


def test_what_float64_cannot_tell_apart():
    """Two codewords whose scores differ by less than the rounding of a score."""
    parts = levels()[:1]
    into = torch.zeros(SHORT, D)
    into[0, 0] = into[1, 1] = 1
    words = torch.full((K, SHORT), -(2.0**20))
    words[4], words[9] = torch.tensor([2.0**20, 1, 0]), torch.tensor([2.0**20, 1 + 2.0**-20, 0])
    parts[0] = Level(into, torch.zeros(SHORT), parts[0].out, parts[0].out_bias, words)
    z = torch.zeros(3, D)
    z[:, 0] = 2.0**20
    z[:, 1] = torch.tensor([1 + 2.0**-21, 1 + 2.0**-20, 1])
    found = LiveProjections().codes(z, parts)
    assert found.codes[:, 0].tolist() == [4, 9, 4]  # the first is a tie
    assert torch.equal(found.codes, exact_codes(z, parts, False))


def test_changes_are_noticed():
    live, z, parts = LiveProjections(cosine=True), noise(9, D, seed=3), levels()
    before = live.codes(z, parts).codes
    assert torch.equal(live.codes(z, parts[:2]).codes, before[:, :2])
    parts[1].into.neg_()
    after = live.codes(z, parts).codes
    assert not torch.equal(before, after)
    assert torch.equal(after, LiveProjections(cosine=True).codes(z, parts).codes)
    twin = copy.deepcopy(live)
    assert twin.cosine
    assert twin._handle != live._handle


def test_a_token_alone_has_the_same_codes():
    live, z, parts = LiveProjections(), noise(600, D, seed=3), levels()
    whole = live.codes(z, parts).codes
    alone = torch.cat([live.codes(token[None], parts).codes for token in z[::50]])
    assert torch.equal(whole[::50], alone)


def test_misuse_is_refused():
    live, z, parts = LiveProjections(), noise(2, D), levels()
    with pytest.raises(ValueError, match="at least one level"):
        live.codes(z, [])
    with pytest.raises(ValueError, match="as many columns as z has numbers"):
        live.codes(z[:, :5], parts)
    with pytest.raises(ValueError, match=r"z must be finite, got inf at position"):
        live.codes(z.abs() / 0, parts)
    parts[2].words[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"words must be finite, got nan at position \(3, 1\)"):
        live.codes(z, parts)


def test_opcheck():
    flat = [tensor for level in levels() for tensor in level]
    opcheck(torch.ops.craft.projected_codes.default, (noise(2, 3, D), flat, 0, True))
