"""Codes by brute force in float64, and how near to a tie another code is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def tables_of(quantizer: nn.Module) -> list[Tensor]:  # L of [K, D] float32
    """The codewords, computed as the model defines them."""
    module: Any = quantizer
    kind = type(module).__name__
    if kind.endswith(("VQVAEVectorQuantizer",)):
        weight = module.embedding.weight.detach()
        return [(F.normalize(weight, dim=-1) if "Glm" in kind else weight).float()]
    if hasattr(module, "embed"):  # a level of HiggsAudio
        return [module.embed.float()]
    tables = []
    for level in getattr(module, "layers", None) or module.quantizers:
        book = level.codebook
        if hasattr(book, "embed_sum"):
            tables.append(book.embed_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None])
        else:
            tables.append(book.embed)
    return [table.float() for table in tables]


def truth_of(
    quantizer: nn.Module,
    features: Tensor,  # [N, D]
    levels: int,
) -> Tensor:  # [N, levels]
    if hasattr(quantizer, "n_codebooks"):
        return torch.stack([scores.argmax(1) for scores, _ in dac_scores(quantizer, features)], 1)
    return true_codes(features, tables_of(quantizer)[:levels])


def dac_scores(
    quantizer: Any,
    features: Tensor,  # [N, D]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosine similarities [N, K] of every level in float64, and how far the model's own float32 may
    be off [N]. The residual is that of the best codes."""
    residual = features.double()
    with torch.no_grad():
        for level in quantizer.quantizers:
            into, out = (p.weight[..., 0].double() for p in (level.in_proj, level.out_proj))
            seen = residual @ into.T + level.in_proj.bias.double()
            units = F.normalize(level.codebook.weight, dim=-1).double()
            scores = seen @ units.T / seen.norm(dim=1, keepdim=True)
            spread = into.norm() * features.double().norm(dim=1) / seen.norm(dim=1)
            yield scores, 2.0**-22 * (features.shape[1] + 8) * (1 + spread)
            words = level.codebook.weight[scores.argmax(1)].double()
            residual = residual - words @ out.T - level.out_proj.bias.double()


def differing_from(
    quantizer: nn.Module,
    features: Tensor,  # [N, D] float32
    codes: Tensor,  # [N, L]
) -> int:
    """How many tokens have other codes than the true ones, every one of them at a near tie."""
    if not hasattr(quantizer, "n_codebooks"):
        return differing_tokens(features, tables_of(quantizer), codes)
    alike = torch.ones(len(features), dtype=torch.bool)
    for level, (scores, rounding) in enumerate(dac_scores(quantizer, features)):
        gaps = scores.amax(1) - scores.gather(1, codes[:, level, None])[:, 0]
        first = alike & (codes[:, level] != scores.argmax(1))
        assert (gaps <= rounding)[first].all()
        alike &= ~first
    return int((~alike).sum())


def distances(
    residual: Tensor,  # [N, D] float32
    table: Tensor,  # [K, D] float32
) -> Tensor:  # [N, K] float64
    differences = residual.double()[:, None] - table.double()[None]
    return differences.square().sum(-1)


def true_codes(
    features: Tensor,  # [N, D]
    tables: list[Tensor],  # L of [K, D] float32
) -> Tensor:  # [N, L]
    residual, codes = features.float(), []
    for table in tables:
        codes.append(distances(residual, table).argmin(1))
        residual = residual - table[codes[-1]]
    return torch.stack(codes, 1)


def differing_tokens(
    features: Tensor,  # [N, D] float32
    tables: list[Tensor],  # L of [K, D] float32
    codes: Tensor,  # [N, L]
) -> int:
    """How many tokens have other codes than the true ones.

    AssertionError unless every one of them first differs where two codewords are equally near but
    for the rounding of |r|^2 - 2 <r, c> + |c|^2 in float32, the formula of all these models.
    """
    residual, alike = features.float(), torch.ones(len(features), dtype=torch.bool)
    for level, table in enumerate(tables[: codes.shape[1]]):
        squares = distances(residual, table)
        true = squares.argmin(1)
        first = alike & (codes[:, level] != true)
        gaps = squares.gather(1, codes[:, level, None]) - squares.gather(1, true[:, None])
        largest = residual.double().norm(dim=1) + table.double().norm(dim=1).max()
        rounding = (table.shape[1] + 4) * 2.0**-23 * largest.square()
        assert (gaps[:, 0] <= rounding)[first].all()
        alike &= ~first
        residual = residual - table[true]
    return int((~alike).sum())
