"""FlashAttention's functions in plain torch, for VILA-U's LLaMA, which always imports them."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def install() -> None:
    """Make ``import flash_attn`` find this module."""
    for name, members in (
        ("flash_attn", (flash_attn_func, flash_attn_varlen_func)),
        ("flash_attn.bert_padding", (index_first_axis, pad_input, unpad_input)),
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=name == "flash_attn")
        for member in members:
            setattr(module, member.__name__, member)
        sys.modules[name] = module


def flash_attn_func(
    q: Tensor,  # [B, T, heads, d]
    k: Tensor,  # [B, S, heads, d]
    v: Tensor,
    dropout: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    scores = torch.einsum("bthd,bshd->bhts", q.float(), k.float()) * scale
    if causal:  # aligned at the end, as in FlashAttention 2.1
        length, width = scores.shape[-2:]
        hidden = torch.ones(length, width, dtype=torch.bool).triu(width - length + 1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v.float()).to(q.dtype)


def flash_attn_varlen_func(
    q: Tensor,  # [tokens, heads, d]
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    **options: Any,
) -> Tensor:
    options = {n: options[n] for n in ("softmax_scale", "causal") if n in options}
    rows = []
    for i in range(len(cu_seqlens_q) - 1):
        queries = slice(int(cu_seqlens_q[i]), int(cu_seqlens_q[i + 1]))
        keys = slice(int(cu_seqlens_k[i]), int(cu_seqlens_k[i + 1]))
        rows.append(flash_attn_func(q[queries][None], k[keys][None], v[keys][None], **options)[0])
    return torch.cat(rows)


def index_first_axis(x: Tensor, indices: Tensor) -> Tensor:
    return x[indices]


def unpad_input(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    lengths = mask.sum(1, dtype=torch.int32)
    indices = mask.flatten().nonzero().flatten()
    ends = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return x.flatten(0, 1)[indices], indices, ends, int(lengths.max())


def pad_input(x: Tensor, indices: Tensor, batch: int, length: int) -> Tensor:
    padded = x.new_zeros(batch * length, *x.shape[1:])
    padded[indices] = x
    return padded.view(batch, length, *x.shape[1:])
