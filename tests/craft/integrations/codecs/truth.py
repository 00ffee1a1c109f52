"""Codes by brute force in float64, and how near to a tie another code is."""

from __future__ import annotations

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
    if hasattr(module, "out_proj"):  # a level of DAC
        return [F.normalize(module.codebook.weight.detach(), dim=-1).float()]
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
