"""What a directory of models says of itself, in ``manifest.json``, and what its files must be.

``python -m craft.family.manifest DIRECTORY`` writes the hashes anew, also those in the cards of its
language models, after files were changed on purpose.
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
    """What ``manifest.json`` says; other keys are notes.

    Args:
        language_models: those that commands name first, in this order.
        retention: what measures forgetting, by name or by the path of its data.
        files: name -> SHA-256; a file that is listed is read only if it is that one.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    language_models: tuple[str, ...] = ()
    retention: str | None = None
    files: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> FamilyManifest:
        """The manifest of a directory; an empty one if there is none.

        Raises:
            StoredFileError: damaged, edited, or with hashes and no checksum of its own.
        """
        path = directory / MANIFEST
        if not path.is_file():
            return cls()
        content = read_json(path, _WHAT)
        if content.get("files") and CHECKSUM not in content:
            raise StoredFileError(
                f"{path}, {_WHAT}, lists files but has no checksum of its own; write it anew: "
                f"python -m craft.family.manifest {directory}"
            )
        return as_card(content, path, _WHAT, cls)


def write_manifest(directory: Path, content: Mapping[str, Any], without: str | None = None) -> None:
    """Write ``manifest.json`` with the hashes of all files that are there now.

    Args:
        content: what else it says.
        without: a folder whose files are no part of the models.

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
    """List a file that was written into a directory of models, where a manifest lists files.

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
    """Take the files of a directory of models, which were changed on purpose, as they are now.

    Raises:
        StoredFileError: a manifest or card that is no JSON object.
        OSError: a file cannot be read or written.
    """
    for card in sorted(directory.glob(f"*/{CARD}")):
        write_card(card.parent, read_json(card, "the card of a language model"))
    path = directory / MANIFEST
    write_manifest(directory, read_json(path, _WHAT) if path.is_file() else {})


if __name__ == "__main__":
    write_anew(Path(sys.argv[1]))
