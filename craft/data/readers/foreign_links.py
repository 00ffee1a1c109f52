"""Errors show nothing of a file outside of the data, where a link led that came with it."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers.faults import DataFaults
from craft.data.readers.place import DataError
from craft.data.readers.rows import MissingImage
from craft.runtime.inside import inside
from craft.runtime.stored_files import StoredFileError


def hide_foreign(path: Path, error: DataError) -> None:
    """Raises another DataError in place of one about a file that a link out of ``path`` leads to:
    its message may hold what stands there. Whoever names the file itself sees all."""
    for fault in error.faults if isinstance(error, DataFaults) else (error,):
        file = fault.place.path
        if isinstance(fault, MissingImage) or not file.is_file() or not file.is_relative_to(path):
            continue
        try:
            inside(path, str(file.relative_to(path)), "the folder")
        except StoredFileError:
            hidden = DataError(
                fault.place,
                "cannot be read as data; it is a link out of the folder, so nothing of it is "
                "shown: name the file itself to see more",
            )
            hidden.account = error.account
            raise hidden from error
