"""``manifest.json``: what a family's directory contains, and the hashes of its files.

After files were changed on purpose, ``python -m craft.family.manifest DIRECTORY`` rewrites the
hashes, including those in the cards of its language models.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from craft.family.layout import MANIFEST
from craft.models.aligned_language_model import CARD, write_card
from craft.runtime.json_cards import CHECKSUM, as_card, read_json, with_checksum
from craft.runtime.stored_files import StoredFileError, file_hash, file_hashes
from craft.runtime.whole_file import write_json

_WHAT = "the manifest of the models"


class FamilyManifest(BaseModel):
    """Content of ``manifest.json``; other keys are notes.

    Args:
        language_models: names that commands list first, in this order.
        retention: name or data path of what measures forgetting.
        files: name -> SHA-256; a listed file is read only if its hash matches.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    language_models: tuple[str, ...] = ()
    retention: str | None = None
    files: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> FamilyManifest:
        """Read the manifest of a directory; it is empty if there is none.

        Raises:
            StoredFileError: it is damaged, was edited, or lists hashes but has no checksum itself.
        """
        path = directory / MANIFEST
        if not path.is_file():
            return cls()
        content = read_json(path, _WHAT)
        if content.get("files") and CHECKSUM not in content:
            raise StoredFileError(
                f"{path}, {_WHAT}, lists files but has no checksum; rewrite it: "
                f"python -m craft.family.manifest {directory}"
            )
        return as_card(content, path, _WHAT, cls)


def write_manifest(directory: Path, content: Mapping[str, Any], without: str | None = None) -> None:
    """Write ``manifest.json`` with the current hashes of all files.

    Args:
        content: its other keys.
        without: a folder whose files are not part of the models.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    known = {
        name: found
        for name, found in file_hashes(directory).items()
        if name != MANIFEST and name.split("/")[0] != without
    }
    kept = {key: value for key, value in content.items() if key not in (CHECKSUM, "files")}
    write_json(directory / MANIFEST, with_checksum({**kept, "files": known}))


def note_file(directory: Path, name: str) -> None:
    """Add a file to the manifest of a directory, if the manifest lists files.

    Raises:
        StoredFileError: the manifest is damaged.
        OSError: the manifest cannot be written.
    """
    manifest = FamilyManifest.load(directory)
    if manifest.files:
        content = read_json(directory / MANIFEST, _WHAT)
        kept = {key: value for key, value in content.items() if key != CHECKSUM}
        kept["files"] = {**manifest.files, name: file_hash(directory / name)}
        write_json(directory / MANIFEST, with_checksum(kept))


def write_anew(directory: Path) -> None:
    """Rewrite the hashes of a family's directory after its files were changed on purpose.

    Raises:
        StoredFileError: the manifest or a card is not a JSON object.
        OSError: a file cannot be read or written.
    """
    for card in sorted(directory.glob(f"*/{CARD}")):
        write_card(card.parent, read_json(card, "the card of a language model"))
    path = directory / MANIFEST
    write_manifest(directory, read_json(path, _WHAT) if path.is_file() else {})


if __name__ == "__main__":
    write_anew(Path(sys.argv[1]))
