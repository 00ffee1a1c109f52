"""Buffers for a tile of tokens, which the tiles of a thread use in turn."""

from __future__ import annotations

import threading
from typing import TypeVar

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.buffers import empty, round_up

# Scores of one tile. Large enough that the codewords are not read too often, small enough to stay
# in a cache; a tile has at least _MIN_TOKENS tokens, so that it exceeds this only beside a much
# larger codebook.
_SCORE_BYTES = 16 << 20
_MIN_TOKENS, _MAX_TOKENS = 64, 1024
_MAX_PARTS = 32

_of_thread = threading.local()


class Tile:
    """Room for `tokens` tokens. Memory that nothing has written to costs nothing."""

    def __init__(self, tokens: int, dim: int) -> None:
        native = native_module()
        self.tokens = tokens
        self.residual = empty(tokens, dim, dtype=torch.float32)
        packed = empty(native.tokens_bytes(tokens, dim), dtype=torch.uint8)
        rounding = empty(tokens, dim, dtype=torch.float32)
        token_parts = empty(tokens, native.TOKEN_PARTS_BYTES, dtype=torch.uint8)
        self._kept_alive = packed, rounding, token_parts
        self.native = native.ScreenTile(
            residual=self.residual.data_ptr(),
            tokens=packed.data_ptr(),
            rounding=rounding.data_ptr(),
            parts=token_parts.data_ptr(),
        )

    def source(
        self,
        vectors: Tensor,  # [N, D] float32, bfloat16 or float16
        start: int,
        count: int,  # at most `tokens`
    ) -> int:
        """The address from which the native code takes `count` vectors to be its residuals, or 0
        where they have been converted and put in their place."""
        if vectors.dtype == torch.float32 and vectors.is_contiguous():
            return vectors.data_ptr() + 4 * start * vectors.shape[1]
        self.residual[:count].copy_(vectors[start : start + count])
        return 0


class ShortlistTile(Tile):
    """For products whose scores are not kept; see csrc/shortlist.h."""

    def __init__(self, K: int, dim: int) -> None:
        super().__init__(_MAX_TOKENS, dim)
        native, lists = native_module(), _MAX_PARTS * _MAX_TOKENS
        self.lists = empty(lists, native.SHORTLIST_BYTES, dtype=torch.uint8)
        self.candidates = empty(lists, native.CANDIDATES_BYTES, dtype=torch.uint8)

    def parts(self, count: int, threads: int) -> int:
        """Into how many the codewords are cut, so that `count` tokens keep all threads busy."""
        if threads == 1:
            return 1
        chunks = -(-count // native_module().CHUNK_TOKENS)
        return min(-(-2 * threads // chunks), _MAX_PARTS)


class ScoreTile(Tile):
    """For scores that are kept, because Gram rows are subtracted from them."""

    def __init__(self, K: int, dim: int) -> None:
        native = native_module()
        blocks = -(-K // native.BLOCK)
        group = native.TOKEN_GROUP
        tokens = max(_MIN_TOKENS, min(_SCORE_BYTES // (2 * blocks * native.BLOCK), _MAX_TOKENS))
        super().__init__(-(-tokens // group) * group, dim)
        self.scores = empty(self.tokens, blocks * native.BLOCK, dtype=torch.int16)
        self.maxima = empty(self.tokens, round_up(blocks, native.BLOCK_GROUP), dtype=torch.int16)
        self.state = empty(self.tokens, native.TOKEN_STATE_BYTES // 8, dtype=torch.int64)
        self.missing = empty(self.tokens, dtype=torch.int64)


class GramTile(Tile):
    """Another one, because Gram rows are computed while a ScoreTile is in use."""

    def __init__(self, K: int, dim: int) -> None:
        super().__init__(_MAX_TOKENS, dim)


AnyTile = TypeVar("AnyTile", bound=Tile)


def tile_of_thread(kind: type[AnyTile], K: int, dim: int) -> AnyTile:
    """This thread's buffers, kept between calls: touching fresh memory takes a fifth of a call."""
    shape = native_module().isa(), K, dim
    held = getattr(_of_thread, kind.__name__, None)
    if held is None or held[0] != shape:
        with torch.inference_mode(False):
            held = shape, kind(K, dim)
        setattr(_of_thread, kind.__name__, held)
    return held[1]
