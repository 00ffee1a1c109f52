"""Whether tensors that other code owns are still what they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Snapshot(NamedTuple):
    """Tensors as they were. They are kept alive: else their memory could be another's."""

    tensors: list[Tensor]
    versions: list[int]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Snapshot:
        kept = [tensor.detach() for tensor in tensors]
        return cls(kept, [_version(tensor) for tensor in kept])

    def still(self, tensors: Sequence[Tensor]) -> bool:
        """Same memory, dtype, shape, and no in-place operation that torch has counted."""
        return len(tensors) == len(self.tensors) and all(
            new.data_ptr() == old.data_ptr()
            and _version(new) == version
            and new.dtype == old.dtype
            and new.shape == old.shape
            and new.stride() == old.stride()
            for new, old, version in zip(tensors, self.tensors, self.versions, strict=True)
        )


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
