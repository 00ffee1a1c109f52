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
    if _projects(quantizer):
        found = [scores.argmax(1) for scores, _ in projected_scores(quantizer, features)]
        return torch.stack(found[:levels], 1)
    return true_codes(features, tables_of(quantizer)[:levels])


def _projects(quantizer: nn.Module) -> bool:
    return type(quantizer).__name__.startswith(("Dac", "Higgs"))


def projected_scores(
    quantizer: Any,
    features: Tensor,  # [N, D]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores [N, K] of every level in float64, with residuals of the full length that are those of
    the best codes, and how far the model's own float32 may be off [N]."""
    residual, dim = features.double(), features.shape[1]
    with torch.no_grad():
        for level in quantizer.quantizers:
            cosine = hasattr(level, "in_proj")
            into, out = (
                (level.in_proj, level.out_proj) if cosine else (level.project_in, level.project_out)
            )
            (a, b) = (p.weight.reshape(p.weight.shape[:2]).double() for p in (into, out))
            words = level.codebook.weight if cosine else level.codebook.embed
            seen = residual @ a.T + into.bias.double()
            off = a.norm() * features.double().norm(dim=1) + seen.norm(dim=1)
            if cosine:
                units = F.normalize(words, dim=-1).double()
                scores = seen @ units.T / seen.norm(dim=1, keepdim=True)
                off = 1 + off / seen.norm(dim=1)
            else:
                wide = words.double()
                scores = seen @ wide.T - 0.5 * wide.square().sum(1)
                off = (off + wide.norm(dim=1).max()) ** 2
            yield scores, 2.0**-22 * (dim + 8) * off
            residual = residual - words[scores.argmax(1)].double() @ b.T - out.bias.double()


def differing_from(
    quantizer: nn.Module,
    features: Tensor,  # [N, D] float32
    codes: Tensor,  # [N, L]
) -> int:
    """How many tokens have other codes than the true ones, every one of them at a near tie."""
    if not _projects(quantizer):
        return differing_tokens(features, tables_of(quantizer), codes)
    alike = torch.ones(len(features), dtype=torch.bool)
    for level, (scores, rounding) in enumerate(projected_scores(quantizer, features)):
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
