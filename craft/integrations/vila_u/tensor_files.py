"""Moving tensors between safetensors files byte by byte, whatever their size.

The safetensors library writes a file from tensors that are all in memory. Here a written tensor is
a stretch of bytes of another file, so that 13 GB take a few MB of memory and come out unchanged.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from craft.errors import CraftError

_BUFFER = 16 << 20
_DTYPES = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file: bytes ``start`` to ``end`` of it."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class TensorFile:
    """The header of a safetensors file; ``tensors`` in the order of their bytes."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def read_header(path: Path) -> TensorFile:
    """What a safetensors file holds, without reading it.

    Raises:
        CraftError: not a safetensors file, or one that was cut short.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else total
        if length > total - 8:
            raise CraftError(f"{path} is not a safetensors file, or was cut short; get it again")
        header: dict[str, Any] = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    begin = 8 + length
    tensors = {
        name: StoredTensor(
            path, entry["dtype"], tuple(entry["shape"]), *(begin + o for o in entry["data_offsets"])
        )
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    }
    end = max((tensor.end for tensor in tensors.values()), default=begin)
    if end != total:
        raise CraftError(f"{path} has {total} bytes, its header says {end}; get it again")
    return TensorFile(tensors, metadata)


def tensor_files(folder: Path) -> dict[str, TensorFile]:
    """Headers of all safetensors files of a folder, by file name.

    Raises:
        CraftError: there are none, there are pickles instead, or a name occurs twice.
    """
    files = {path.name: read_header(path) for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        instead = f", only {pickles[0]}: a pickle, which is never loaded" if pickles else ""
        raise CraftError(f"{folder} holds no safetensors files{instead}")
    names = [name for file in files.values() for name in file.tensors]
    twice = (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()
    )
    if twice:
        raise CraftError(f"{folder} holds {sorted(twice)[0]!r} in more than one file")
    return files


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder; errors as for :func:`tensor_files`."""
    return {n: t for file in tensor_files(folder).values() for n, t in file.tensors.items()}


def write_tensors(
    path: Path,
    tensors: Mapping[str, StoredTensor | Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file; it appears under its name when it is whole.

    Args:
        tensors: stored ones are copied by bytes, those in memory as they are.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            for piece in _pieces(tensor):
                out.write(piece)
    os.replace(unfinished, path)


def same_bytes(a: StoredTensor | Tensor, b: StoredTensor | Tensor) -> bool:
    """Whether two tensors have the same bytes."""
    size_a = a.nbytes if isinstance(a, Tensor) else a.size
    size_b = b.nbytes if isinstance(b, Tensor) else b.size
    return size_a == size_b and all(x == y for x, y in zip(_pieces(a), _pieces(b), strict=True))


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
