"""An append-only file of image codes, from which complete batches can always be read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from craft.runtime.appended_file import AppendedFile, tell_torn

#: Before each batch: how many images it has, and the checksum of what follows.
_HEADER = struct.Struct("<II")


class CodeFile:
    """Batches of codes and |r_1|^2, appended one by one.

    A batch is on the disk when :meth:`append` returns. What a process that was killed left
    half-written is told and cut off by the next :meth:`read`.

    Args:
        path: of the file, which need not exist. The caller ensures that it belongs to the same
            images and encoder, and that only one process at a time uses it.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self, codes: Tensor, residual_sq: Tensor) -> int:
        """Fill the first rows of both tensors from the file; returns the number of rows.

        Args:
            codes: [n, N, L], of the dtype that was appended.
            residual_sq: [n, N].
        """
        if not self.path.is_file():
            return 0
        done = whole = 0
        with self.path.open("rb") as file:
            while (count := _next(file, codes[done:], residual_sq[done:])) is not None:
                done += count
                whole = file.tell()
        if whole < self.path.stat().st_size:
            tell_torn(self.path, f"what follows the codes of {done} images is")
            AppendedFile(self.path, whole).close()
        return done

    def append(self, codes: Tensor, residual_sq: Tensor) -> None:
        """Add a batch: codes [b, N, L] and |r_1|^2 [b, N].

        Raises:
            OSError: it could not be written; names the file, which is as it was.
        """
        content = _bytes(codes) + _bytes(residual_sq)
        with AppendedFile(self.path) as file:
            file.append(_HEADER.pack(len(codes), zlib.crc32(content)) + content)


def _next(file: BinaryIO, codes: Tensor, residual_sq: Tensor) -> int | None:
    """Read one batch; returns its length, or None at the end or if it is incomplete."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    count, checksum = _HEADER.unpack(header)
    if not 0 < count <= len(codes):
        return None
    sizes = [x[:count].numel() * x.element_size() for x in (codes, residual_sq)]
    content = file.read(sum(sizes))
    if len(content) < sum(sizes) or zlib.crc32(content) != checksum:
        return None
    codes[:count] = _tensor(content[: sizes[0]], codes[:count])
    residual_sq[:count] = _tensor(content[sizes[0] :], residual_sq[:count])
    return count


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _tensor(content: bytes, like: Tensor) -> Tensor:
    kind: Any = {torch.int16: np.int16, torch.int32: np.int32, torch.float32: np.float32}
    return torch.from_numpy(np.frombuffer(content, kind[like.dtype]).copy()).view(like.shape)
