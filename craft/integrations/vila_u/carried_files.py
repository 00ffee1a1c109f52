"""Files of a checkpoint that are carried over as they are: only such as lie in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from craft.runtime.inside import inside
from craft.runtime.stored_tensors import read_header


def carried(folder: Path, name: str, what: str) -> Path:
    """The path of a file in ``folder`` that may be copied.

    A link out of the folder could bring any file of this machine into what is written, and from
    there to wherever that is published. Weights may be links, as on a larger disk: they are read
    as weights first.

    Raises:
        StoredFileError: the name leads out of the folder, or weights are none.
    """
    if not name.endswith(".safetensors"):
        return inside(folder, name, what)
    path = inside(folder, name, what, follow_links=True)
    read_header(path, what)
    return path


def carry(folder: Path, name: str, target: Path, what: str) -> None:
    """Copy such a file, into a folder that is made if need be; errors as :func:`carried`."""
    source = carried(folder, name, what)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
