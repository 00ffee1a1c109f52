"""Keeps errors from showing the content of files outside the data, reached through its links."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers.faults import DataFaults
from craft.data.readers.place import DataError
from craft.data.readers.rows import MissingImage
from craft.runtime.inside import inside
from craft.runtime.stored_files import StoredFileError


def hide_foreign(path: Path, error: DataError) -> None:
    """Raise another DataError if one is about a file that a link leads to, out of ``path``.

    The original message may contain parts of that file. A user who names the file itself sees it.
    """
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
