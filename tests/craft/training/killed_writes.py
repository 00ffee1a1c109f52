"""Checkpoint writes that are killed at every disk call, for test_checkpoint.

The argument is a directory; the output lists the step of the checkpoint found after each kill.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import safetensors.torch
import torch

from craft.training.records.checkpoint import CheckpointDirectory
from tests.craft.killing import die_at


def write(directory: CheckpointDirectory, step: int) -> None:
    directory.save(step, {"weights": {"x": torch.full((100,), float(step))}}, {"note": step})


#: Calls that touch the disk.
_DISK = (
    (safetensors.torch, "save_file"),
    (os, "fsync"),
    (os, "rmdir"),
    (os, "unlink"),
    (os, "replace"),
    (Path, "rename"),
    (Path, "mkdir"),
    (Path, "write_bytes"),
)


def main() -> None:
    root = Path(sys.argv[1])
    found = []
    for instant in range(1000):
        shutil.rmtree(root, ignore_errors=True)
        directory = CheckpointDirectory(root, keep=1)
        write(directory, 1)
        child = os.fork()
        if child == 0:
            die_at(instant, _DISK)
            write(directory, 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        loaded = directory.load()
        assert loaded is not None, instant
        values = set(loaded.tensors["weights"]["x"].tolist())
        assert values == {float(loaded.step)}, instant
        assert loaded.state == {"note": loaded.step}, instant
        write(directory, 3)  # as a later run would
        directory.tidy()
        again = directory.load()
        assert again is not None, instant
        assert again.step == 3, instant
        assert [x.name for x in root.iterdir()] == ["step-00000003"], list(root.iterdir())
        found.append(loaded.step)
        if status == 0:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
