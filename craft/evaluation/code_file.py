"""An append-only file of image codes, from which complete batches can always be read.

Batches may be in any order. If several processes encode, each has a file of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from craft.runtime.appended_file import AppendedFile, tell_torn

#: Header of a batch: number of its first image, its number of images, and the checksum of the data
#: that follows.
_HEADER = struct.Struct("<III")


class CodeFile:
    """Batches of codes and |r_1|^2, appended one by one.

    A batch is on the disk when :meth:`append` returns. What a process that was killed left
    half-written is told and cut off by the next :meth:`read`.

    Args:
        path: of the file, which need not exist. The caller ensures that it belongs to the same
            images and encoder, and that only one process at a time uses it.
        beside: other files of the same images and encoder, which are read too.
    """

    def __init__(self, path: Path, beside: Sequence[Path] = ()):
        self.path = path
        self.beside = beside

    def read(self, codes: Tensor, residual_sq: Tensor) -> list[range]:
        """Fill rows of both tensors from the files; returns the rows of each batch.

        Args:
            codes: [n, N, L], of the dtype that was appended.
            residual_sq: [n, N].
        """
        found: list[range] = []
        for path in (self.path, *self.beside):
            if path.is_file():
                found += _read(path, codes, residual_sq)
        return found

    def append(self, first: int, codes: Tensor, residual_sq: Tensor) -> None:
        """Append a batch that starts at image ``first``: codes [b, N, L] and |r_1|^2 [b, N].

        Raises:
            OSError: it could not be written; names the file, which is as it was.
        """
        content = _bytes(codes) + _bytes(residual_sq)
        with AppendedFile(self.path) as file:
            file.append(_HEADER.pack(first, len(codes), zlib.crc32(content, first)) + content)


def _read(path: Path, codes: Tensor, residual_sq: Tensor) -> list[range]:
    """Read one file, and cut off what is incomplete."""
    found: list[range] = []
    whole = 0
    with path.open("rb") as file:
        while (rows := _next(file, codes, residual_sq)) is not None:
            found.append(rows)
            whole = file.tell()
    if whole < path.stat().st_size:
        tell_torn(path, f"what follows the codes of {sum(map(len, found))} images is")
        AppendedFile(path, whole).close()
    return found


def _next(file: BinaryIO, codes: Tensor, residual_sq: Tensor) -> range | None:
    """Read one batch; returns its rows, or None at the end or if it is incomplete."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    first, count, checksum = _HEADER.unpack(header)
    if not 0 < count <= len(codes) - first:
        return None
    rows = slice(first, first + count)
    sizes = [x[rows].numel() * x.element_size() for x in (codes, residual_sq)]
    content = file.read(sum(sizes))
    if len(content) < sum(sizes) or zlib.crc32(content, first) != checksum:
        return None
    codes[rows] = _tensor(content[: sizes[0]], codes[rows])
    residual_sq[rows] = _tensor(content[sizes[0] :], residual_sq[rows])
    return range(first, first + count)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _tensor(content: bytes, like: Tensor) -> Tensor:
    kind: Any = {torch.int16: np.int16, torch.int32: np.int32, torch.float32: np.float32}
    return torch.from_numpy(np.frombuffer(content, kind[like.dtype]).copy()).view(like.shape)
