"""Whether two quantisers agree, token by token, except for ties that their precision allows."""

from __future__ import annotations

import torch
from torch import Tensor


def agreeing(
    theirs: Tensor,  # [..., L] int64
    ours: Tensor,  # [..., L] int64, of ``features``
    features: Tensor,  # [..., D] float32
    table: Tensor,  # [L, K, D] float32
    apart: Tensor | float = 0.0,  # [...]: how far their features are from these
) -> Tensor:  # [...] bool
    """Tokens with equal codes; fails on a difference that no tie explains.

    At the first level that differs, the float64 distances of both codewords may differ by the
    rounding of |r|^2 + |c|^2 - 2 r.c in float32 and by the difference of the features. Deeper
    levels of such a token quantise another residual and are not compared.
    """
    residual = features.float()
    same = torch.ones(theirs.shape[:-1], dtype=torch.bool)
    for level, words in enumerate(table):
        a, b = words[theirs[..., level]], words[ours[..., level]]
        gap = _distance(residual, a) - _distance(residual, b)
        rounding = _rounding(residual, words)
        moved = 2 * apart * (a - b).norm(dim=-1)
        differ = same & (theirs[..., level] != ours[..., level])
        assert (gap[same] >= 0).all(), "ours is not the nearest"
        assert (gap <= rounding + moved)[differ].all(), "no tie"
        same &= ~differ
        residual = residual - b
    return same


def decided(
    codes: Tensor,  # [..., L] int64, of ``features``
    features: Tensor,  # [..., D] float32
    table: Tensor,  # [L, K, D] float32
) -> Tensor:  # [...] bool
    """Tokens whose codes no float32 rounding can change.

    At every level, the second nearest codeword is farther by more than the rounding."""
    residual = features.float()
    clear = torch.ones(codes.shape[:-1], dtype=torch.bool)
    for level, words in enumerate(table):
        distances = _distance(residual[..., None, :], words)
        nearest = distances.gather(-1, codes[..., level, None])
        others = distances.scatter(-1, codes[..., level, None], torch.inf)
        clear &= others.amin(-1) - nearest[..., 0] > 2 * _rounding(residual, words)
        residual = residual - words[codes[..., level]]
    return clear


def _rounding(residual: Tensor, words: Tensor) -> Tensor:  # [..., D], [K, D] -> [...]
    """Bound on float32 rounding in the difference of |r|^2 + |c|^2 - 2 r.c of two codewords."""
    size = residual.norm(dim=-1) + words.norm(dim=-1).max()
    return 2 * (words.shape[-1] + 8) * 2.0**-24 * size.square()


def _distance(x: Tensor, words: Tensor) -> Tensor:
    return (x.double() - words.double()).square().sum(-1)
