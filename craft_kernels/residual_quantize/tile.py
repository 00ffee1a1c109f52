"""Buffers for a tile of tokens; a thread reuses them from tile to tile and from call to call."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.residual_quantize.buffers import empty, round_up

_MIB = 1 << 20


def _score_bytes(
    cache: Path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size"),
) -> int:
    """Memory for one tile's scores: half of the third-level cache, if Linux reports its size.

    With more tokens the codewords are read less often; with fewer, the scores stay in the cache.
    The choice was measured: docs/performance.md.
    """
    try:
        kibibytes = int(cache.read_text().strip().removesuffix("K"))
    except (OSError, ValueError):
        return 16 * _MIB
    return max(4 * _MIB, min(kibibytes * 1024 // 2, 16 * _MIB))


# A tile has at least _MIN_TOKENS tokens, so it exceeds this only with a much larger codebook.
_SCORE_BYTES = _score_bytes()
_MIN_TOKENS, _MAX_TOKENS = 64, 1024
_MAX_PARTS = 32

_of_thread = threading.local()


class Tile:
    """Room for `tokens` tokens. Pages that nothing has written to take no memory."""

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
        """The address from which the native code copies `count` vectors as its residuals, or 0 if
        this method has already converted them into the residual buffer."""
        if vectors.dtype == torch.float32 and vectors.is_contiguous():
            return vectors.data_ptr() + 4 * start * vectors.shape[1]
        self.residual[:count].copy_(vectors[start : start + count])
        return 0


class ShortlistTile(Tile):
    """Buffers for products whose scores are not kept; see csrc/shortlist.h."""

    def __init__(self, K: int, dim: int) -> None:
        super().__init__(_MAX_TOKENS, dim)
        native, lists = native_module(), _MAX_PARTS * _MAX_TOKENS
        self.lists = empty(lists, native.SHORTLIST_BYTES, dtype=torch.uint8)
        self.candidates = empty(lists, native.CANDIDATES_BYTES, dtype=torch.uint8)

    def parts(self, count: int, threads: int) -> int:
        """How many parts to cut the codewords into, so that `count` tokens occupy all threads."""
        if threads == 1:
            return 1
        chunks = -(-count // native_module().CHUNK_TOKENS)
        return min(-(-2 * threads // chunks), _MAX_PARTS)


class ScoreTile(Tile):
    """Buffers for scores that are kept, because Gram rows are subtracted from them."""

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
    """Separate buffers, because Gram rows are computed while a ScoreTile is in use."""

    def __init__(self, K: int, dim: int) -> None:
        super().__init__(_MAX_TOKENS, dim)


AnyTile = TypeVar("AnyTile", bound=Tile)


def tile_of_thread(kind: type[AnyTile], K: int, dim: int) -> AnyTile:
    """This thread's buffers, kept because touching fresh memory takes a fifth of a call's time."""
    shape = native_module().isa(), K, dim
    held = getattr(_of_thread, kind.__name__, None)
    if held is None or held[0] != shape:
        with torch.inference_mode(False):
            held = shape, kind(K, dim)
        setattr(_of_thread, kind.__name__, held)
    return held[1]
