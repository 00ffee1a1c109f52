"""A codebook that other code owns and may change: its codewords are read again when they have."""

from __future__ import annotations

import importlib
import itertools
import weakref
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craft_kernels.backends import check_impl, resolve_impl
from craft_kernels.fork_aware_lock import ForkAwareLock
from craft_kernels.registration import register_fake
from craft_kernels.residual_quantize import cuda, native, reference
from craft_kernels.residual_quantize.arguments import check_codebook, check_z
from craft_kernels.residual_quantize.codewords import Codewords, codewords_of_levels
from craft_kernels.tensor_snapshot import Snapshot

_library = torch.library.Library("craft", "FRAGMENT")
_handles = itertools.count(1)
_alive: weakref.WeakValueDictionary[int, LiveCodebook] = weakref.WeakValueDictionary()


class LiveCodebook:
    """What searches in somebody else's tables share, for as long as the tables stay as they are.

    A `FrozenCodebook` is a copy and never changes. This is for tables that belong to a model, which
    may be moved, converted, loaded again or trained: every call is given the tables, and prepares
    them afresh if they are not those of the last call. Noticed are other memory, another dtype or
    shape, and what torch counts as an in-place operation; not what is written through ``.data``,
    ``.numpy()`` or inside ``torch.inference_mode`` to tensors made there.

    A copy, and what pickling makes, starts empty. May be used by several threads at once.

    Args:
        normalized: search in the tables' rows scaled to length one, each scaled and rounded in the
            table's own dtype as ``torch.nn.functional.normalize`` does.
    """

    def __init__(self, *, normalized: bool = False) -> None:
        self.normalized = normalized
        self._read: _Read | None = None
        self._reading = ForkAwareLock()
        self._handle = next(_handles)
        _alive[self._handle] = self

    def codes(
        self,
        z: Tensor,  # [..., D]
        tables: list[Tensor],  # L of [K, D]
        levels: int | None = None,
        *,
        impl: str = "auto",
    ) -> Tensor:  # [..., levels] int64
        """The codes of `residual_quantize(z, torch.stack(tables))` for the first levels.

        They have no gradient. Opaque to torch.compile, which leaves no graph break here.

        Args:
            z: [..., D] float32, bfloat16 or float16; taken as float32, exactly.
            tables: the codewords of every level, in one of these dtypes, all of one shape, on the
                device of z.
            levels: how many to search, from the first; all if left out.
            impl: as for `residual_quantize`.

        Raises:
            ValueError: for an argument that cannot be used, NaN and infinity included.
        """
        check_impl(impl)
        if not tables:
            raise ValueError("tables must hold at least one level, got none")
        levels = len(tables) if levels is None else levels
        if not 1 <= levels <= len(tables):
            raise ValueError(f"levels must be in [1, {len(tables)}], as tables, got {levels}")
        check_z(z, tables[0])
        return torch.ops.craft.nearest_codes.default(
            z.detach(), tables, levels, self._handle, self.normalized, impl
        )

    def _codewords(self, tables: list[Tensor]) -> tuple[Codewords, ...]:
        read = self._read
        if read is None or not read.tables.still(tables):
            with self._reading:
                read = self._read
                if read is None or not read.tables.still(tables):
                    read = self._read = _read(tables, self.normalized)
        return read.codewords

    def __reduce__(self):
        return _empty, (self.normalized,)

    def __deepcopy__(self, memo: object) -> LiveCodebook:
        return _empty(self.normalized)

    def __repr__(self) -> str:
        return f"LiveCodebook(normalized={self.normalized})"


def _empty(normalized: bool) -> LiveCodebook:
    return LiveCodebook(normalized=normalized)


class _Read(NamedTuple):
    tables: Snapshot
    codewords: tuple[Codewords, ...]


def _read(tables: list[Tensor], normalized: bool) -> _Read:
    shapes = {tuple(table.shape) for table in tables}
    if len(shapes) != 1 or tables[0].ndim != 2:
        raise ValueError(f"tables must be [K, D], all of one shape, got {sorted(shapes)}")
    with torch.inference_mode(False), torch.no_grad():
        snapshot = Snapshot.of(tables)
        words = [F.normalize(table, dim=-1) if normalized else table for table in snapshot.tensors]
        copy = torch.stack([check_codebook(table).float() for table in words])
        return _Read(snapshot, codewords_of_levels(copy))


_library.define(
    "nearest_codes(Tensor z, Tensor[] tables, int levels, int handle, bool normalized, str impl)"
    " -> Tensor"
)


def _nearest_codes(
    z: Tensor,  # [..., D]
    tables: list[Tensor],  # L of [K, D]
    levels: int,
    handle: int,
    normalized: bool,
    impl: str,
) -> Tensor:  # [..., levels] int64
    codebook = _alive.get(handle)
    if codebook is None:  # a program that was exported elsewhere
        codebook = LiveCodebook(normalized=normalized)
    codewords = codebook._codewords(tables)
    resolved = resolve_impl(impl, z)
    if resolved == "native":
        codes = native.residual_quantize(z, codewords[:levels], levels)[0]
    elif resolved == "triton":
        launch = importlib.import_module("craft_kernels.residual_quantize.triton.launch")
        codes = launch.residual_quantize(z, codewords, levels, frozen=True)[0]
    elif resolved == "cuda":
        codes = cuda.residual_quantize(z, codewords, levels)[0]
    else:
        words = torch.stack([level.words for level in codewords[:levels]])
        codes = reference.residual_quantize(z, words, levels)[0]
    return codes.reshape(*z.shape[:-1], levels)


for _device in ("CPU", "CUDA"):
    _library.impl("nearest_codes", _nearest_codes, _device)


@register_fake("craft::nearest_codes", lib=_library)
def _(z, tables, levels, handle, normalized, impl):
    return z.new_empty((*z.shape[:-1], levels), dtype=torch.int64)
