"""Space to depth, for quantisers with one code per block of patches.

Both releases have one code per patch, where this changes nothing. In configs whose ``latent_shape``
is a multiple of ``code_shape``, VILA-U's quantiser sees each block of rH x rW patches as one vector
of rH rW D entries: row by row, and patch by patch within a row.
"""

from __future__ import annotations

from torch import Tensor

from craft.errors import CraftError


def space_to_depth(
    features: Tensor,  # [B, h rH, w rW, D]
    block: tuple[int, int],  # (rH, rW)
) -> Tensor:  # [B, h, w, rH rW D]
    """Concatenate the patches of each block, as ``RQBottleneck.to_code_shape`` does.

    Raises:
        CraftError: not four dimensions, or a grid that is not a whole number of blocks.
    """
    rows, columns = block
    if features.ndim != 4 or features.shape[1] % rows or features.shape[2] % columns:
        raise CraftError(
            f"features must be [B, H, W, D] with H a multiple of {rows} and W of {columns}, got "
            f"{tuple(features.shape)}"
        )
    blocks = features.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
    return blocks.transpose(2, 3).flatten(3)


def depth_to_space(
    features: Tensor,  # [B, h, w, rH rW D]
    block: tuple[int, int],  # (rH, rW)
) -> Tensor:  # [B, h rH, w rW, D]
    """The inverse of :func:`space_to_depth`.

    Raises:
        CraftError: not four dimensions, or vectors that are not whole blocks.
    """
    rows, columns = block
    if features.ndim != 4 or features.shape[3] % (rows * columns):
        raise CraftError(
            f"features must be [B, h, w, E] with E a multiple of {rows * columns}, got "
            f"{tuple(features.shape)}"
        )
    blocks = features.unflatten(3, (rows, columns, -1)).transpose(2, 3)
    return blocks.flatten(3, 4).flatten(1, 2)
