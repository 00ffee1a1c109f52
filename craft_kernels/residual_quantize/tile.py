"""Buffers for a tile of tokens, which the tiles of a thread use in turn."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.buffers import empty

# Scores of one tile. Large enough that the codewords are not read too often, small enough to stay
# in a cache; a tile has at least _MIN_TOKENS tokens, so that it exceeds this only beside a much
# larger codebook.
_TILE_BYTES = 16 << 20
_MIN_TOKENS, _MAX_TOKENS = 64, 1024

_of_thread = threading.local()


class Tile:
    """Room for `tokens` tokens. Memory that nothing has written to costs nothing."""

    def __init__(self, K: int, dim: int) -> None:
        native = native_module()
        padded = -(-K // native.BLOCK) * native.BLOCK
        group = native.TOKEN_GROUP
        tokens = max(_MIN_TOKENS, min(_TILE_BYTES // (4 * padded), _MAX_TOKENS))
        self.tokens = tokens = -(-tokens // group) * group
        self.residual = empty(tokens, dim, dtype=torch.float32)
        self.packed = empty(native.tokens_bytes(tokens, dim), dtype=torch.uint8)
        self.rounding = empty(tokens, dim, dtype=torch.float32)
        self.scores = empty(tokens, padded, dtype=torch.float32)
        self.maxima = empty(tokens, padded // native.BLOCK, dtype=torch.float32)
        self.state = empty(tokens, native.TOKEN_STATE_BYTES // 8, dtype=torch.int64)
        self.missing = empty(tokens, dtype=torch.int64)

    def holding(
        self,
        vectors: Tensor,  # [T, D], T at most `tokens`
    ):
        """The native tile with `vectors` as residuals."""
        self.residual[: len(vectors)].copy_(vectors)
        return native_module().ScreenTile(
            T=len(vectors),
            residual=self.residual.data_ptr(),
            tokens=self.packed.data_ptr(),
            rounding=self.rounding.data_ptr(),
            scores=self.scores.data_ptr(),
            maxima=self.maxima.data_ptr(),
        )


def tile_of_thread(purpose: str, K: int, dim: int) -> Tile:
    """This thread's buffers, kept between calls: touching fresh memory takes a fifth of a call."""
    shape = native_module().isa(), K, dim
    held = getattr(_of_thread, purpose, None)
    if held is None or held[0] != shape:
        with torch.inference_mode(False):
            held = shape, Tile(K, dim)
        setattr(_of_thread, purpose, held)
    return held[1]
