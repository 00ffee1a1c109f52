"""Copy files of a checkpoint unchanged, and only files inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from craft.runtime.inside import inside
from craft.runtime.stored_tensors import read_header


def carried(folder: Path, name: str, what: str) -> Path:
    """Path of a file in ``folder``, checked to be one that may be copied.

    Through a link out of the folder, any file of this machine could get into the output and be
    published with it. Weights may be links, such as to a larger disk: they are first read as
    weights.

    Raises:
        StoredFileError: the name leads out of the folder, or a file of weights holds none.
    """
    if not name.endswith(".safetensors"):
        return inside(folder, name, what)
    path = inside(folder, name, what, follow_links=True)
    read_header(path, what)
    return path


def carry(folder: Path, name: str, target: Path, what: str) -> None:
    """Copy such a file, creating its folder if necessary; errors as for :func:`carried`."""
    source = carried(folder, name, what)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
