"""Write safetensors files of any size from byte ranges of other files.

The safetensors library needs all tensors of a file in memory. Here tensors are copied as bytes from
other files, so that 13 GB take a few MB of memory and stay unchanged.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from craft.errors import CraftError
from craft.runtime.stored_tensors import StoredTensor
from craft.runtime.whole_file import whole_file

_BUFFER = 16 << 20
_DTYPES = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}


def write_tensors(
    path: Path,
    tensors: Mapping[str, StoredTensor | Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file; it appears under its name once it is complete.

    Args:
        tensors: stored ones are copied by bytes, those in memory as they are.

    Raises:
        CraftError: a tensor of another dtype, or one whose file was cut short meanwhile.
        OSError: the file could not be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            kind, shape, size = _dtype(name, tensor), tensor.shape, tensor.nbytes
        else:
            kind, shape, size = tensor.dtype, tensor.shape, tensor.size
        span = [offset, offset + size]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": span}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path, 8 + len(text) + offset) as unfinished, unfinished.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            for piece in _pieces(tensor):
                out.write(piece)


def _dtype(name: str, tensor: Tensor) -> str:
    if str(tensor.dtype) not in _DTYPES:
        raise CraftError(f"{name} is {tensor.dtype}, expected one of {', '.join(_DTYPES)}")
    return _DTYPES[str(tensor.dtype)]


def _pieces(tensor: StoredTensor | Tensor) -> Iterable[bytes | memoryview]:
    if isinstance(tensor, Tensor):
        import torch

        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        for start in range(0, len(flat), _BUFFER):
            yield flat[start : start + _BUFFER].data
        return
    with tensor.path.open("rb") as file:
        file.seek(tensor.start)
        left = tensor.size
        while left:
            piece = file.read(min(_BUFFER, left))
            if not piece:
                raise CraftError(f"{tensor.path} was cut short while it was read")
            left -= len(piece)
            yield piece
