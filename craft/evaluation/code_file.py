"""Codes of images in a file that grows while they are made, whole batches of it always readable.

Batches may come in any order, and of several processes each has a file of its own.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

#: Before each batch: number of its first image, how many it has, the checksum of what follows.
_HEADER = struct.Struct("<III")


class CodeFile:
    """Batches of codes and |r_1|^2, appended one by one.

    A batch is on the disk when :meth:`append` returns. What a process that was killed left
    half-written is cut off by the next :meth:`read`.

    Args:
        path: of the file, which may not exist. Whoever names it sees to it that it is of the same
            images and the same encoder, and that one process at a time uses it.
        beside: other files of the same images and encoder, which are read too.
    """

    def __init__(self, path: Path, beside: Sequence[Path] = ()):
        self.path = path
        self.beside = beside

    def read(self, codes: Tensor, residual_sq: Tensor) -> list[range]:
        """Fill rows of both with what the files hold; which rows those are, batch by batch.

        Args:
            codes: [n, N, L], of the type that was appended.
            residual_sq: [n, N].
        """
        found: list[range] = []
        for path in (self.path, *self.beside):
            if not path.is_file():
                continue
            whole = 0
            with path.open("r+b") as file:
                while (rows := _next(file, codes, residual_sq)) is not None:
                    found.append(rows)
                    whole = file.tell()
                file.truncate(whole)
        return found

    def append(self, first: int, codes: Tensor, residual_sq: Tensor) -> None:
        """Add a batch, the images from ``first`` on: codes [b, N, L] and |r_1|^2 [b, N]."""
        content = _bytes(codes) + _bytes(residual_sq)
        checksum = zlib.crc32(content, first)
        with self.path.open("ab") as file:
            file.write(_HEADER.pack(first, len(codes), checksum) + content)
            file.flush()
            os.fsync(file.fileno())


def _next(file: BinaryIO, codes: Tensor, residual_sq: Tensor) -> range | None:
    """Read one batch; its rows, or None at the end or where it is not whole."""
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
