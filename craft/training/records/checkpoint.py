"""Atomic checkpoints: complete or absent, whatever happens to the process or the disk.

One is a directory ``step-<n>`` of safetensors files and a ``state.json`` with their hashes. It is
written whole (:mod:`craft.runtime.whole_folder`); older ones go only after that.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from craft.errors import CraftError
from craft.runtime.inside import inside
from craft.runtime.json_cards import CHECKSUM, checksum, read_json, with_checksum
from craft.runtime.stored_files import file_hash
from craft.runtime.stored_tensors import read_tensors
from craft.runtime.whole_file import WriteError, remove_unfinished, write_json, write_tensors
from craft.runtime.whole_folder import whole_directory

log = logging.getLogger(__name__)

FORMAT = 4
_STATE, _STEP, _DELETING = "state.json", "step-", ".deleting-"


class OtherFormatError(CraftError):
    """A checkpoint is intact, but was written by another version."""


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` maps a file name without suffix to its tensors; ``state`` is the rest as JSON."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class CheckpointDirectory:
    """The checkpoints of one run.

    Args:
        root: created when the first checkpoint is written.
        keep: how many of the newest are kept.
    """

    def __init__(self, root: Path, keep: int = 2):
        self.root = root
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, newest last."""
        found = (x.name for x in self.root.glob(f"{_STEP}*") if (x / _STATE).is_file())
        return sorted(int(name.removeprefix(_STEP)) for name in found)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.root / f"{_STEP}{step:08d}"

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]
    ) -> Path:
        """Write a checkpoint, then delete the oldest beyond ``keep``.

        Raises:
            OSError: the disk is full or failing; the new checkpoint is removed and all earlier ones
                are kept. The message names the last good one.
        """
        target = self.root / f"{_STEP}{step:08d}"
        if (target / _STATE).is_file():
            if self._usable(target) is not None:
                return target
            self._delete(target)  # damaged: the run went on from one before it
        needs = sum(x.nbytes for values in tensors.values() for x in values.values())
        shutil.rmtree(target, ignore_errors=True)  # without state.json: half deleted
        try:
            with whole_directory(target, needs) as writing:
                hashes = {}
                for name, values in tensors.items():
                    path = writing / f"{name}.safetensors"
                    write_tensors(path, values)
                    hashes[name] = file_hash(path)
                card = {"format": FORMAT, "step": step, "hashes": hashes, "state": state}
                write_json(writing / _STATE, with_checksum(card), indent=None)
        except WriteError as error:
            raise WriteError(self._failure(step, error)) from error
        for old in self.steps()[: -self.keep]:
            self._delete(self.root / f"{_STEP}{old:08d}")
        return target

    def load(self) -> Checkpoint | None:
        """The newest undamaged checkpoint; None if there is none.

        Raises:
            OtherFormatError: it was written by another version.
        """
        for step in reversed(self.steps()):
            found = self._usable(self.root / f"{_STEP}{step:08d}")
            if found is not None:
                return found
        return None

    def _usable(self, directory: Path) -> Checkpoint | None:
        try:
            return _read(directory)
        except OtherFormatError:
            raise
        except (CraftError, OSError) as error:
            log.warning("%s cannot be used: %s", directory, error)
            return None

    def clear(self) -> None:
        """Delete all of them: a new run begins."""
        for directory in self.root.glob(f"{_STEP}*"):
            self._delete(directory)
        self.tidy()

    def tidy(self) -> None:
        """Remove what an interrupted write or deletion left; also that of earlier versions."""
        remove_unfinished(self.root)
        for pattern in (".writing-", _DELETING):
            for directory in self.root.glob(f"{pattern}*"):
                shutil.rmtree(directory, ignore_errors=True)

    def _delete(self, directory: Path) -> None:
        doomed = directory.with_name(_DELETING + directory.name)
        shutil.rmtree(doomed, ignore_errors=True)
        directory.rename(doomed)  # never a partial checkpoint under a checkpoint's name
        shutil.rmtree(doomed, ignore_errors=True)

    def _failure(self, step: int, error: WriteError) -> str:
        last = self.steps()[-1:]
        good = f"that of step {last[0]} is intact" if last else "there is no earlier one"
        return f"the checkpoint of step {step}: {error}; {good}; continue with --resume auto"


def _read(directory: Path) -> Checkpoint:
    # Gradient norms may be infinite in half precision.
    card = read_json(directory / _STATE, "the state of a checkpoint", foreign=True)
    if card.get(CHECKSUM) != checksum(card):
        raise CraftError(f"{_STATE} is not what was written")
    if card.get("format") != FORMAT:
        raise OtherFormatError(
            f"{directory} was written by another version (format {card.get('format')!r}, expected "
            f"{FORMAT}); resume with that version, or start over in another directory"
        )
    tensors = {}
    for name, known in card["hashes"].items():
        path = inside(directory, f"{name}.safetensors", _STATE)
        if file_hash(path) != known:
            raise CraftError(f"{path.name} is not what was written")
        tensors[name] = read_tensors(path, "part of a checkpoint").tensors
    return Checkpoint(card["step"], tensors, card["state"])
