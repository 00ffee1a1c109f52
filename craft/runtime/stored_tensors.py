"""The only reader of safetensors files, whoever wrote them.

The safetensors library checks that a file is complete: the header against the file's length, and
every tensor's bytes against its shape and dtype. Its errors become one line that names the file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from craft.runtime.inside import inside
from craft.runtime.json_cards import read_json
from craft.runtime.stored_files import StoredFileError, require_file
from craft.runtime.strict_text import is_text


class StoredTensors(NamedTuple):
    """The content of a safetensors file; the tensors are memory-mapped."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file, which occupies bytes ``start`` to ``end``."""

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
    """The header of a safetensors file; ``tensors`` are in file order."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def read_tensors(path: Path | str, what: str) -> StoredTensors:
    """Read all tensors of a file.

    Args:
        what: what the file is, for the error message, such as "the codebook".

    Raises:
        StoredFileError: the file is missing, empty, a Git LFS pointer, truncated, or not
            safetensors.
    """
    with _opened(path, what) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return StoredTensors(tensors, dict(file.metadata() or {}))


def read_tensor(path: Path | str, name: str, what: str) -> Tensor:
    """Read one tensor of a file; errors as for :func:`read_tensors`."""
    with _opened(path, what) as file:
        return file.get_tensor(name)


def read_header(path: Path | str, what: str = "model weights") -> TensorFile:
    """Read which tensors a file holds, and where, without reading the tensors.

    Raises:
        StoredFileError: as for :func:`read_tensors`.
    """
    path = Path(path)
    with _opened(path, what) as file:
        metadata = dict(file.metadata() or {})
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    begin = 8 + length
    tensors = {
        name: StoredTensor(
            path, entry["dtype"], tuple(entry["shape"]), *(begin + o for o in entry["data_offsets"])
        )
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    }
    return TensorFile(tensors, metadata)


def tensor_files(folder: Path, what: str = "model weights") -> dict[str, TensorFile]:
    """Read the headers of all safetensors files in a folder, by file name.

    Raises:
        StoredFileError: the folder has no safetensors files (pickles are never loaded), a file
            named in its index is missing or lies elsewhere, or a tensor occurs twice.
    """
    files = {path.name: read_header(path, what) for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        instead = f", only {pickles[0]}: a pickle, which is never loaded" if pickles else ""
        raise StoredFileError(f"{folder} holds no safetensors files{instead}")
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = read_json(index, f"the index of {what}", foreign=True).get("weight_map")
        if not isinstance(shards, dict):
            raise StoredFileError(f"{index}, the index of {what}, has no weight_map; get it again")
        for shard in sorted(set(map(str, shards.values()))):
            # Shards may be links to another disk; a target that is not safetensors is refused.
            path = inside(folder, shard, f"{index}, the index of {what},", follow_links=True)
            require_file(path, what)
    names = [name for file in files.values() for name in file.tensors]
    twice = (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()
    )
    if twice:
        raise StoredFileError(f"{folder} holds {sorted(twice)[0]!r} in more than one file")
    return files


def fill(module: nn.Module, tensors: Mapping[str, Tensor], origin: Path | str) -> None:
    """Load a module's weights; names and shapes must match the module's exactly.

    Args:
        origin: the file or directory that the tensors came from, for the error message.

    Raises:
        StoredFileError: a tensor is missing, unknown, of the wrong shape, or an integer where a
            float is expected (or the reverse); the message names the first.
    """
    require_shapes(
        {name: tuple(x.shape) for name, x in tensors.items()},
        {name: tuple(x.shape) for name, x in module.state_dict().items()},
        origin,
    )
    own = module.state_dict()
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise StoredFileError(
                f"{origin} holds {name} as {tensor.dtype}, expected {own[name].dtype}; get it again"
            )
    module.load_state_dict(dict(tensors))


def require_shapes(
    stored: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    origin: Path | str,
) -> None:
    """Raise StoredFileError unless stored tensors have exactly the wanted names and shapes."""
    missing, unknown = sorted(wanted.keys() - stored), sorted(stored.keys() - wanted)
    if missing or unknown:
        raise StoredFileError(
            f"{origin} does not hold the weights its config asks for: "
            f"missing {missing[:3]} ({len(missing)}), not known {unknown[:3]} ({len(unknown)})"
        )
    for name, shape in wanted.items():
        if tuple(stored[name]) != tuple(shape):
            raise StoredFileError(
                f"{origin} holds {name} of shape {tuple(stored[name])}, its config asks for "
                f"{tuple(shape)}: config and weights do not belong together"
            )


def require_fractions(name: str, tensor: StoredTensor, what: str) -> None:
    """Raise StoredFileError if a weight is stored as integers, which torch would convert."""
    if "F" not in tensor.dtype:
        raise StoredFileError(
            f"{tensor.path}, {what}, holds {name} as {tensor.dtype}, expected fractions; get the "
            "file again"
        )


@contextmanager
def _opened(path: Path | str, what: str) -> Iterator[Any]:
    path = require_file(path, what)
    if not is_text(str(path)):
        raise StoredFileError(f"{path}, {what}, has a path that is not UTF-8; rename its folder")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, UnicodeError) as error:
        raise StoredFileError(
            f"{path}, {what}, is not a whole safetensors file ({error}); it was cut short or "
            "damaged, so get it again"
        ) from error
