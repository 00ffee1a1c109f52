"""Attention of a prompt's last position, whichever attention kernel runs.

Fused kernels return no weights. But transformers calls all of them through one interface, which
sees queries and keys after RoPE; from these, one row per layer is recomputed. This takes
O(layers * heads * positions) memory, whereas eager attention takes positions squared.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from craft.decoding.look import Look, unit_roundoff, weight_rounding
from craft.errors import CraftError

# The interface is shared by the whole process.
_WATCHING = threading.RLock()


def last_row_attention(
    decoder: PreTrainedModel, forward: Callable[[], Any]
) -> Look:  # [L, B, heads, T]
    """Softmax attention of the last of T positions in every layer of ``decoder``.

    Args:
        decoder: a transformers decoder, such as ``model.get_decoder()``.
        forward: runs it once over a whole prompt; any padding must be on the left.

    Returns:
        Weights of the query heads, with layers in the order they ran, and the possible rounding
        error of each. Padding has weight 0.

    Raises:
        CraftError: weights are NaN, the decoder does not call its attention through transformers'
            interface, or its attention is more than a softmax.
    """
    owned = {id(module) for module in decoder.modules()}
    name = decoder.config._attn_implementation or "eager"
    rows: list[Look] = []

    def watch(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **how: Any
    ) -> Any:
        if id(module) in owned:
            row = last_row(query, key, attention_mask, depth=len(rows), **how)
            if row.weights.isnan().any():
                raise CraftError(
                    f"the attention of layer {len(rows)} is NaN: activations overflow in "
                    f"{query.dtype}, or the weights are broken; run the model in the precision it "
                    "was trained in"
                )
            rows.append(row)
        kernel = running or sys.modules[type(module).__module__].eager_attention_forward
        return kernel(module, query, key, value, attention_mask=attention_mask, **how)

    with _WATCHING:
        running = ALL_ATTENTION_FUNCTIONS.get(name)
        if running is None and name != "eager":
            raise CraftError(f"transformers has no attention named {name!r}")
        local = ALL_ATTENTION_FUNCTIONS._local_mapping
        before = local.get(name)
        local[name] = watch
        try:
            forward()
        finally:
            if before is None:
                del local[name]
            else:
                local[name] = before
    if not rows:
        raise CraftError(
            f"{type(decoder).__name__} does not call attention through transformers' interface, so "
            "its attention weights cannot be read"
        )
    return Look(*(torch.stack(parts) for parts in zip(*rows, strict=True)))


def last_row(
    query: Tensor,  # [B, heads, Q, d], after RoPE
    key: Tensor,  # [B, key heads, T, d], after RoPE
    mask: Any = None,  # [B, 1 or heads, Q, T] or [B, T]; bool, 0 and 1, or additive
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    depth: int = 0,
    **how: Any,
) -> Look:  # [B, heads, T]
    """Softmax attention of the last query, accumulated in float32.

    Takes the arguments that transformers passes to its attention kernels. Without a mask the last
    query sees every key. ``depth`` is the number of layers that ran before this one.

    Raises:
        CraftError: there are attention sinks or a position bias, or the mask is not a tensor (flex
            attention).
    """
    extra = [k for k in ("s_aux", "position_bias") if how.get(k) is not None]
    if extra:
        raise CraftError(f"this model's attention has {extra[0]}; its weights cannot be recomputed")
    width = key.shape[2]
    groups = query.shape[1] // key.shape[1]  # query heads j*groups... share key head j
    last = query[:, :, -1].float().unflatten(1, (-1, groups))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = scale * torch.einsum("bkgd,bktd->bkgt", last, key.float()).flatten(1, 2)
    squares = torch.einsum("bkgd,bktd->bkgt", last.square(), key.float().square()).flatten(1, 2)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if mask is not None:
        if not isinstance(mask, Tensor):
            raise CraftError(
                f"this attention's mask is a {type(mask).__name__}, whose rows cannot be read; "
                "load the model with attn_implementation='sdpa'"
            )
        row = mask[:, :, -1, :width] if mask.ndim == 4 else mask[:, None, -width:]
        if row.is_floating_point():
            scores = scores + row
        else:
            scores = scores.masked_fill(row == 0, -torch.inf)
    if sliding_window is not None:
        scores[..., : max(0, width - sliding_window)] = -torch.inf
    weights = scores.softmax(-1)
    rounding = weight_rounding(
        weights,
        scale * squares.sqrt(),
        depth=depth,
        width=query.shape[1] * query.shape[-1],
        unit=unit_roundoff(query),
    )
    return Look(weights, rounding)
