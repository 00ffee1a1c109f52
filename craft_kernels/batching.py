"""What torch.vmap does with an op whose rows do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def batched_call(
    op: Callable[..., Any],
    rows: set[int],  # the arguments [..., one row], which may have any leading dimensions
    batch_size: int,
    dims: tuple[int | None, ...],  # of each argument, which dimension is the batch
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """The op's results with the batch as their first dimension, and vmap's note of where it is.

    One call on all rows; where something else is batched, a codebook or a prior, one for each.
    """
    if all(dim is None or i in rows for i, dim in enumerate(dims)):
        whole = list(args)
        for i in rows:
            if args[i] is not None:
                dim = dims[i]
                whole[i] = (
                    args[i].expand(batch_size, *args[i].shape)
                    if dim is None
                    else args[i].movedim(dim, 0)
                )
        results = op(*whole)
    else:
        each = [
            op(*(a if d is None else a.select(d, i) for a, d in zip(args, dims, strict=True)))
            for i in range(batch_size)
        ]
        if isinstance(each[0], Tensor):
            results = torch.stack(each)
        else:
            results = tuple(torch.stack(column) for column in zip(*each, strict=True))
    return results, 0 if isinstance(results, Tensor) else (0,) * len(results)
