"""Names that stand in files become paths here, and cannot leave the folder they belong to."""

from __future__ import annotations

import os
from pathlib import Path

from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError


def inside(directory: Path | str, name: object, what: str, *, follow_links: bool = False) -> Path:
    """``directory / name``, which must lie in ``directory`` once links are resolved.

    A snapshot in the hub's cache consists of links into the ``blobs`` beside it: those count as
    lying in the snapshot.

    Args:
        name: as a file gives it, of whatever type it was read as.
        what: which file says so, for the message, such as "the manifest of the models".
        follow_links: judge the name alone: where the user chose the folder, and nothing that lies
            behind a link in it is shown or copied.

    Raises:
        StoredFileError: the name is no path, or leads out of the directory.
    """
    directory = Path(directory)
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise StoredFileError(f"{what} names {name!r:.80}, which is no path")
    path = directory / name
    if follow_links:
        path = directory / os.path.normpath(name)  # not through a link and up from where it leads
        found, roots = _plain(path), [_plain(directory)]
    else:
        try:
            found, root = path.resolve(), directory.resolve()
        except (OSError, RuntimeError) as error:  # links in a circle
            raise StoredFileError(f"{what} names {name!r:.80}, which is no path") from error
        roots = [root, *_blobs(root)]
    if not any(found.is_relative_to(root) for root in roots):
        raise StoredFileError(
            f"{what} names {name!r:.80}, which leads out of {directory} (to {str(found)!r:.120}); "
            "only what lies in that folder is used"
        )
    return path


def require_inside(directory: Path | str, path: Path, what: str) -> Path:
    """A file that was found in ``directory`` and is to be copied, unless it is a link out of it.

    Raises:
        StoredFileError: it is; what lies there was not part of what the user named.
    """
    return inside(directory, path.name, what)


def require_plain_name(name: str, option: str) -> str:
    """A name that the user gave for a file or folder, if it is one on every system.

    Raises:
        CraftError: it is empty, hidden, or has a separator, a drive, a control character or more
            than 100 characters.
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
    """Absolute and without ``..``, links left as they are."""
    return Path(os.path.abspath(path))


def _blobs(root: Path) -> list[Path]:
    """Where the links of a snapshot in the hub's cache lead; empty for any other folder."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots" and "--" in folder.parent.parent.name:
            return [folder.parent.parent / "blobs"]
    return []
