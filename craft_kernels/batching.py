"""How torch.vmap batches an op whose rows do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def batched_call(
    op: Callable[..., Any],
    rows: set[int],  # indices of the arguments that accept any leading dimensions
    batch_size: int,
    dims: tuple[int | None, ...],  # for each argument, which dimension is the batch
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """The op's results with the batch as their first dimension, and the out_dims that vmap expects.

    All rows go through one call, unless another argument, a codebook or a prior, is batched too:
    then each element of the batch gets its own call.
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
