"""Which patches a question makes the model attend to: contrastive attention, VAQ, layer choice.

Follows LASER (arXiv 2602.04304), Eqs. 3 to 5, as third parties restate them; docs/laser.md says
which parts are certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from craft.decoding.look import Look
from craft.errors import CraftError
from craft.settings.laser import LaserSettings


@dataclass(frozen=True)
class Evidence:
    """Where the model attends because of the question.

    Args:
        vaq: visual activation by query of each layer [L], float32.
        layer: the chosen one, counted from 0.
        map: contrastive attention of that layer [h, w], float32, the mean over its chosen heads.
    """

    vaq: Tensor
    layer: int
    map: Tensor

    @property
    def degenerate(self) -> bool:
        """Whether the question did not change the model's attention, so nothing can be cropped."""
        total = self.map.sum()
        return not bool(total.isfinite()) or float(total) <= 0


def contrastive_attention(
    with_query: Look,  # [..., P]
    without_query: Look,  # [..., P]
) -> Tensor:  # [..., P] float32
    """max(0, with - without): removes attention that does not depend on the question (Eq. 3).

    A difference that may be due to rounding counts as zero.

    Raises:
        CraftError: the shapes differ, or weights are NaN.
    """
    shapes = tuple(with_query.weights.shape), tuple(without_query.weights.shape)
    if shapes[0] != shapes[1]:
        raise CraftError(
            "attention with and without the query must have the same shape, got "
            f"{shapes[0]} and {shapes[1]}"
        )
    for name, look in {"with": with_query, "without": without_query}.items():
        if look.weights.isnan().any():
            raise CraftError(f"the attention {name} the query contains NaN")
    difference = with_query.weights - without_query.weights
    noise = with_query.rounding + without_query.rounding
    return difference.masked_fill(~(difference > noise), 0)


def visual_activation(
    contrast: Tensor,  # [L, heads, ...], contrastive attention
    k_head: int | Literal["all"] = 8,
) -> tuple[Tensor, Tensor]:  # [L] float32, [L, K] int64
    """VAQ: mean norm of the K most reactive heads of each layer (Eq. 4), and which heads they are.

    A model with fewer heads uses all of them.
    """
    norms = contrast.flatten(2).norm(dim=2)
    heads = norms.shape[1]
    count = heads if k_head == "all" else min(k_head, heads)
    values, chosen = norms.topk(count, dim=1)
    return values.mean(1), chosen


def choose_layer(
    vaq: Tensor,  # [L]
    layer_range: tuple[int, int] | None = None,
    fixed_layer: int | None = None,
) -> int:
    """The layer with the largest VAQ (Eq. 5), or the fixed one; ties go to the lower layer.

    Args:
        layer_range: (first, end) of the candidates, as in ``range``.

    Raises:
        CraftError: the model does not have these layers.
    """
    depth = len(vaq)
    if fixed_layer is not None:
        if not 0 <= fixed_layer < depth:
            raise CraftError(
                f"fixed_layer must be in 0..{depth - 1} for this model of {depth} layers, "
                f"got {fixed_layer}"
            )
        return fixed_layer
    first, end = layer_range or (0, depth)
    if not 0 <= first < end <= depth:
        raise CraftError(
            f"layer_range must be (first, end) with 0 <= first < end <= {depth}, got {(first, end)}"
        )
    values = vaq.tolist()
    return max(range(first, end), key=lambda layer: (values[layer], -layer))


def find_evidence(
    with_query: Look,  # [L, heads, h, w]
    without_query: Look,  # [L, heads, h, w]
    settings: LaserSettings,
) -> Evidence:
    """Find the evidence in one image from the attention of two prefills.

    Raises:
        CraftError: as for :func:`contrastive_attention` and :func:`choose_layer`.
    """
    contrast = contrastive_attention(with_query, without_query)
    vaq, heads = visual_activation(contrast, settings.k_head)
    layer = choose_layer(vaq, settings.layer_range, settings.fixed_layer)
    return Evidence(vaq.cpu(), layer, contrast[layer, heads[layer]].mean(0).cpu())


def strongest_cells(
    evidence: Tensor,  # [h, w]
    share: float,
) -> Tensor:  # [h, w] bool
    """The ceil(share * P) cells with most evidence, except zeros; ties go by raster order."""
    flat = evidence.flatten()
    # Some products, such as 0.1 * 30, exceed the exact value in binary floating point.
    count = max(1, int(-(-(share * len(flat) - 1e-9) // 1)))
    order = flat.argsort(descending=True, stable=True)[:count]
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[order] = flat[order] > 0
    return chosen.view_as(evidence)
