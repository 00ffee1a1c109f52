"""Turns names read from files into paths, which cannot leave the folder they belong to."""

from __future__ import annotations

import os
from pathlib import Path

from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError


def inside(directory: Path | str, name: object, what: str, *, follow_links: bool = False) -> Path:
    """Return ``directory / name``, which must lie in ``directory`` once links are resolved.

    A snapshot in the Hugging Face cache consists of links into the ``blobs`` folder beside it;
    these count as inside the snapshot.

    Args:
        name: the name as read from a file, of any type.
        what: the file that contains the name, for the error message, such as "the manifest of the
            models".
        follow_links: check only the name, and allow links in the folder to lead anywhere. For
            folders that the user chose, where nothing behind a link is shown or copied.

    Raises:
        StoredFileError: the name is not a path, or leads out of the directory.
    """
    directory = Path(directory)
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise StoredFileError(f"{what} names {name!r:.80}, which is no path")
    path = directory / name
    if follow_links:
        path = directory / os.path.normpath(name)  # ".." after a link must not leave the folder
        found, roots = _plain(path), [_plain(directory)]
    else:
        try:
            found, root = path.resolve(), directory.resolve()
        except (OSError, RuntimeError) as error:  # circular links
            raise StoredFileError(f"{what} names {name!r:.80}, which is no path") from error
        roots = [root, *_blobs(root)]
    if not any(found.is_relative_to(root) for root in roots):
        raise StoredFileError(
            f"{what} names {name!r:.80}, which leads out of {directory} (to {str(found)!r:.120}); "
            "only what lies in that folder is used"
        )
    return path


def require_inside(directory: Path | str, path: Path, what: str) -> Path:
    """Return the path of a file in ``directory`` that is to be copied.

    Raises:
        StoredFileError: it is a link that leads out of ``directory``, to something that the user
            did not name.
    """
    return inside(directory, path.name, what)


def require_plain_name(name: str, option: str) -> str:
    """Return a name that the user gave to a file or folder, if it is valid on every system.

    Raises:
        CraftError: the name is empty or hidden, contains a separator, a drive or a control
            character, or is longer than 100 characters.
    """
    odd = any(character in '/\\:*?"<>|' or not character.isprintable() for character in name)
    if (
        not name
        or odd
        or name.startswith((".", "~", "-"))
        or name != name.strip()
        or len(name) > 100
    ):
        raise CraftError(
            f"{option} must be a plain name, not hidden and without separators, got {name!r:.80}"
        )
    return name


def _plain(path: Path) -> Path:
    """The absolute path without ``..``; links are not resolved."""
    return Path(os.path.abspath(path))


def _blobs(root: Path) -> list[Path]:
    """The ``blobs`` folder of a snapshot in the Hugging Face cache; empty for other folders."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots" and "--" in folder.parent.parent.name:
            return [folder.parent.parent / "blobs"]
    return []
