"""The rows that a codebook is fitted to: a tensor in memory, or files larger than memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError, require_file
from craft.runtime.stored_tensors import read_header

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Rows(Protocol):
    """Feature vectors by number."""

    @property
    def dim(self) -> int:
        """D."""
        ...

    def __len__(self) -> int: ...

    def take(self, begin: int, end: int) -> Tensor:  # [end - begin, D]
        """Rows ``begin`` to ``end``, float32, bfloat16 or float16, on any device."""
        ...

    def place(self, row: int) -> str:
        """Where a row comes from, for messages."""
        ...


class TensorRows:
    """Rows in memory.

    Raises:
        CraftError: the tensor is not [N, D] float32, bfloat16 or float16, or has no rows.
    """

    def __init__(self, features: Tensor):  # [N, D]
        if features.ndim != 2 or features.dtype not in _DTYPES or 0 in features.shape:
            raise CraftError(
                f"features must be [N, D] float32, bfloat16 or float16 with N, D >= 1, got "
                f"{tuple(features.shape)} {features.dtype}; flatten leading dimensions with "
                "features.flatten(0, -2)"
            )
        self._features = features.detach()

    @property
    def dim(self) -> int:
        return self._features.shape[1]

    def __len__(self) -> int:
        return len(self._features)

    def take(self, begin: int, end: int) -> Tensor:
        return self._features[begin:end]

    def place(self, row: int) -> str:
        return f"row {row}"


class FeatureFile:
    """Rows of ``.npy`` and ``.safetensors`` files, read when they are needed.

    Args:
        paths: one file, or several whose rows follow each other. A safetensors file holds one
            tensor [N, D]; an array is float32 or float16.

    Raises:
        StoredFileError: a file is missing, damaged, or holds something else.
        CraftError: there are no files, or their widths differ.
    """

    def __init__(self, paths: Path | str | Sequence[Path | str]):
        several = [paths] if isinstance(paths, str | Path) else list(paths)
        self._files = [_open(Path(path)) for path in several]
        if not self._files:
            raise CraftError("no files of features were given; name .npy or .safetensors files")
        self._ends = list(accumulate(len(file) for file in self._files))
        first = self._files[0]
        for file in self._files:
            if file.dim != first.dim:
                raise CraftError(
                    f"{file.path} has rows of {file.dim} dimensions, but {first.path} of "
                    f"{first.dim}; fit a codebook to features of one width"
                )

    @property
    def dim(self) -> int:
        return self._files[0].dim

    def __len__(self) -> int:
        return self._ends[-1]

    def take(self, begin: int, end: int) -> Tensor:
        parts = []
        while begin < end:
            file, start = self._locate(begin)
            stop = min(end, start + len(file))
            parts.append(file.take(begin - start, stop - start))
            begin = stop
        return parts[0] if len(parts) == 1 else torch.cat([part.float() for part in parts])

    def place(self, row: int) -> str:
        file, start = self._locate(row)
        return f"{file.path}, row {row - start}"

    def _locate(self, row: int) -> tuple[_ArrayFile | _TensorFile, int]:
        which = bisect_right(self._ends, row)
        return self._files[which], self._ends[which] - len(self._files[which])


class _ArrayFile:
    def __init__(self, path: Path):
        self.path = path
        try:
            self._array = np.load(require_file(path, "the features"), "r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise StoredFileError(
                f"{path}, the features, is no whole .npy file: {error}"
            ) from error
        if self._array.ndim != 2 or self._array.dtype not in (np.float32, np.float16):
            raise StoredFileError(
                f"{path} holds an array {self._array.shape} of {self._array.dtype}, expected "
                "[N, D] of float32 or float16"
            )
        self.dim = self._array.shape[1]

    def __len__(self) -> int:
        return len(self._array)

    def take(self, begin: int, end: int) -> Tensor:
        return torch.from_numpy(np.array(self._array[begin:end]))


class _TensorFile:
    def __init__(self, path: Path):
        self.path = path
        tensors = read_header(path, "the features").tensors
        shapes = {name: (x.shape, x.dtype) for name, x in tensors.items()}
        if len(shapes) != 1 or any(
            len(shape) != 2 or dtype not in ("F32", "BF16", "F16")
            for shape, dtype in shapes.values()
        ):
            raise StoredFileError(
                f"{path} holds {shapes}, expected one tensor [N, D] of F32, BF16 or F16"
            )
        ((self._name, (self._shape, _)),) = shapes.items()
        self.dim = self._shape[1]

    def __len__(self) -> int:
        return self._shape[0]

    def take(self, begin: int, end: int) -> Tensor:
        with safe_open(self.path, framework="pt") as file:
            return file.get_slice(self._name)[begin:end]


def _open(path: Path) -> _ArrayFile | _TensorFile:
    kinds = {".npy": _ArrayFile, ".safetensors": _TensorFile}
    if path.suffix not in kinds:
        raise StoredFileError(
            f"{path} is neither a .npy nor a .safetensors file; save features as one, [N, D]"
        )
    return kinds[path.suffix](path)


def as_rows(features: Tensor | Rows) -> Rows:
    """A tensor as rows; rows as they are."""
    return TensorRows(features) if isinstance(features, Tensor) else features


def chunks(begin: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of up to ``size`` rows that follow each other from ``begin`` to ``end``."""
    for start in range(begin, end, size):
        yield start, min(end, start + size)


def largest_component(rows: Rows, span: tuple[int, int], size: int) -> float:
    """The largest absolute value of any component of the rows in ``span``.

    Raises:
        CraftError: a component is not finite; names its row and column.
    """
    largest = 0.0
    for begin, end in chunks(*span, size):
        part = rows.take(begin, end).float().abs()
        finite = part.isfinite()
        if not bool(finite.all()):
            row, column = (~finite).nonzero()[0].tolist()
            raise CraftError(
                f"features are not finite at {rows.place(begin + row)}, column {column}; leave "
                "that row out or mend it"
            )
        largest = max(largest, float(part.max()))
    return largest
