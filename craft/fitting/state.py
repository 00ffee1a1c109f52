"""What an interrupted fit resumes from: one file, written whole after every iteration."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import read_tensors
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.whole_file import write_tensors

_FORMAT = "craft-codebook-fit-1"


class FitState:
    """Tables of finished levels, and where the present one stands.

    Args:
        path: the file; None to keep nothing.
        identity: hash of the settings and of the features.
        writes: whether this process is the one that writes; all read.

    Raises:
        StoredFileError: the file is damaged or no state of a fit.
        CraftError: it belongs to a fit of other features or with other settings.
    """

    def __init__(self, path: Path | str | None, identity: str, writes: bool = True):
        self._path, self._identity, self._writes = path, identity, writes
        self.finished: list[Tensor] = []
        self.table: Tensor | None = None  # the next to be measured
        self.best: Tensor | None = None
        self.errors: list[float] = []  # of this level, an entry per iteration
        if path is not None and Path(path).exists():
            self._read(Path(path))

    def finish_level(self, table: Tensor) -> None:
        """``table`` is the level's; the next one begins."""
        self.finished.append(table)
        self.table, self.best, self.errors = None, None, []
        self.write()

    def write(self) -> None:
        if self._path is None or not self._writes:
            return
        tensors = {f"level {i}": table for i, table in enumerate(self.finished)}
        tensors |= {} if self.table is None else {"table": self.table}
        tensors |= {} if self.best is None else {"best": self.best}
        tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        tensors["errors"] = torch.tensor(self.errors, dtype=torch.float64)
        metadata = {
            "format": _FORMAT,
            "identity": self._identity,
            "hash": tensor_hash(tensors),
        }
        write_tensors(self._path, tensors, metadata)

    def remove(self) -> None:
        """The fit is done."""
        if self._path is not None and self._writes:
            Path(self._path).unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        tensors, metadata = read_tensors(path, "the state of a fit")
        if metadata.get("format") != _FORMAT:
            raise StoredFileError(
                f"{path} is no state of a fit: its format is {metadata.get('format')!r}, expected "
                f"{_FORMAT!r}; name another file, or delete this one to begin again"
            )
        if metadata.get("hash") != tensor_hash(tensors):
            raise StoredFileError(
                f"{path}, the state of a fit, is damaged; delete it to begin again"
            )
        if metadata.get("identity") != self._identity:
            raise CraftError(
                f"{path} belongs to a fit of other features or with other settings; name another "
                "file, or delete this one to begin again"
            )
        self.errors = tensors.pop("errors").tolist()
        self.table, self.best = tensors.pop("table", None), tensors.pop("best", None)
        self.finished = [tensors[f"level {i}"] for i in range(len(tensors))]
