"""An encoder pack's card, ``pack.json``, and checks of the other files against it.

A directory is a pack if it has a card. The card is the last file to be put in place and the first
to be removed (:func:`~craft.runtime.whole_folder.parts_swapped`), and it lists the hash of every
other file of the pack, so that no part of an earlier pack can be read with it. If a process was
killed while it replaced a pack, the directory has no card; ``craft adapt --resume auto`` completes
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from craft.data.domains.manifest import MANIFEST
from craft.errors import CraftError
from craft.runtime.json_cards import CHECKSUM, as_card, read_json
from craft.runtime.stored_files import StoredFileError, file_hash, require_file
from craft.settings.methods import METHODS

#: Format numbers of packs of whole encoders and of adapters. Earlier versions wrote cards without a
#: checksum, 1 and 2, and cards that do not list the other files, 3 and 4.
FORMAT, ADAPTER_FORMAT = 5, 6
_WITHOUT_CHECKSUM, _WITHOUT_FILES = (1, 2), (1, 2, 3, 4)
CARD, WEIGHTS, ADAPTERS = "pack.json", "encoder.safetensors", "adapters.safetensors"
PRIOR = "prior.safetensors"
#: The projector and language model of a method that trained one of them.
LANGUAGE_MODEL = "language_model"
#: Everything that may belong to a pack besides its card.
PARTS = (WEIGHTS, ADAPTERS, PRIOR, LANGUAGE_MODEL, MANIFEST)
_WHAT = "the card of an encoder pack"


class PackCard(BaseModel):
    """Content of ``pack.json``.

    Args:
        files: SHA-256 of every file of the pack except the card and the weights, whose hash is
            ``encoder_hash``; None in formats before 5.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    codebook_fingerprint: str
    encoder_hash: str
    vision_config: dict[str, Any]
    read_layer: int
    notes: dict[str, Any]
    base_hash: str | None = None
    files: dict[str, str] | None = None


def read_pack_card(directory: Path) -> PackCard:
    """Read the card of a pack and check the other files against it.

    Raises:
        CraftError: not a pack, or a newer format.
        StoredFileError: the card or a file is missing, damaged, edited, or not part of this pack;
            the method is unknown.
    """
    path = directory / CARD
    if not path.is_file():
        raise CraftError(f"{directory} is not an encoder pack: it holds no {CARD}")
    content = read_json(path, _WHAT)
    written = content.get("format")
    known = (*_WITHOUT_FILES, FORMAT, ADAPTER_FORMAT)
    if not isinstance(written, int) or isinstance(written, bool) or written not in known:
        raise CraftError(
            f"{path} has format {written!r}, this version reads 1 to {ADAPTER_FORMAT}; update "
            "the package"
        )
    if written not in _WITHOUT_CHECKSUM and CHECKSUM not in content:
        raise StoredFileError(f"{path}, {_WHAT}, has lost its checksum; get the pack again")
    card = as_card(content, path, _WHAT, PackCard)
    if (written % 2 == 0) != (card.base_hash is not None):
        raise StoredFileError(f"{path}, {_WHAT}, has format {written} and base {card.base_hash}")
    if (written in _WITHOUT_FILES) != (card.files is None):
        raise StoredFileError(f"{path}, {_WHAT}, has format {written} and files {card.files}")
    _require_method(card, path)
    if card.files is not None:
        _require_files(directory, card.files, WEIGHTS if card.base_hash is None else ADAPTERS)
    return card


def part_hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a pack's parts except the weights, by path."""
    return {
        path.relative_to(directory).as_posix(): file_hash(path)
        for path in _files(directory)
        if path.relative_to(directory).as_posix() not in (WEIGHTS, ADAPTERS)
    }


def _files(directory: Path) -> list[Path]:
    """All files of a pack's parts."""
    found = []
    for name in PARTS:
        path = directory / name
        inner = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [x for x in inner if x.is_file()]
    return found


def _require_files(directory: Path, named: dict[str, str], weights: str) -> None:
    """Raises StoredFileError unless the parts in a folder are those that the card lists."""
    for name, known in named.items():
        if Path(name).parts[:1] not in {(part,) for part in PARTS} or ".." in Path(name).parts:
            raise StoredFileError(
                f"{directory / CARD}, {_WHAT}, names {name!r:.80}, which is not part of a pack; "
                "get the pack again"
            )
        if file_hash(require_file(directory / name, "part of an encoder pack")) != known:
            raise StoredFileError(
                f"{directory / name}, part of an encoder pack, is not what was saved with it: it "
                "was cut short or damaged, or changed since; get the pack again"
            )
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        if name not in named and name != weights:
            raise StoredFileError(
                f"{path} is not named in {CARD} beside it, so it is no part of this pack; move it "
                "elsewhere"
            )


def _require_method(card: PackCard, path: Path) -> None:
    config = card.notes.get("config", {})
    method = config.get("method", "craft") if isinstance(config, dict) else config
    if not isinstance(method, str) or method not in METHODS:
        raise StoredFileError(
            f"{path}, {_WHAT}, names no method this version knows: got {method!r:.60}, expected "
            f"one of {', '.join(METHODS)}"
        )
