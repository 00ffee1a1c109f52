"""The way back from :mod:`~craft.integrations.vila_u.convert`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.integrations.vila_u.checkpoint import SIGLIP
from craft.integrations.vila_u.convert import (
    ASIDE,
    CARD,
    PROJECTOR,
    PROJECTOR_NAMES,
    REST,
    SIGLIP_WEIGHTS,
)
from craft.integrations.vila_u.export import replacements
from craft.integrations.vila_u.tensor_files import write_tensors
from craft.runtime.json_cards import read_json
from craft.runtime.stored_tensors import StoredTensor, read_header
from craft.runtime.whole_file import require_room, whole_directory

if TYPE_CHECKING:
    from craft.models.encoder_pack import EncoderPack


def restore(
    models: Path | str,
    out: Path | str,
    *,
    pack: EncoderPack | None = None,
) -> Path:
    """Write the VILA-U checkpoint that ``models`` was converted from; every tensor has its bytes.

    Args:
        models: what :func:`~craft.integrations.vila_u.convert.convert` wrote.
        out: new directory. VILA-U chooses its prompts by its name: keep ``vila-u-7b-256`` or
            ``vila-u-7b-384`` in it.
        pack: put this adapted encoder into it.

    Raises:
        CraftError: ``models`` was not converted from VILA-U, or ``out`` exists.
        CodebookMismatchError: the pack speaks another codebook.
    """
    models, out = Path(models), Path(out)
    if not (models / ASIDE / CARD).is_file():
        raise CraftError(f"{models} was not converted from VILA-U: it holds no {ASIDE}/{CARD}")
    if out.exists():
        raise CraftError(f"{out} exists; name a new directory")
    card = read_json(models / ASIDE / CARD, "the record of the conversion")
    tower = {SIGLIP + n: t for n, t in read_header(models / SIGLIP_WEIGHTS).tensors.items()}
    tower |= read_header(models / ASIDE / REST).tensors
    projector = read_header(models / card["name"] / PROJECTOR).tensors
    found: dict[str, dict[str, StoredTensor | Tensor]] = {
        "vision_tower": dict(tower),
        "mm_projector": {theirs: projector[ours] for theirs, ours in PROJECTOR_NAMES.items()},
    }
    if pack is not None:
        Codebook.load(models / "codebook.safetensors").require_fingerprint(
            pack.codebook_fingerprint
        )
        found["vision_tower"] |= replacements(pack.weights, tower)
    needed = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    require_room(out, needed, "the VILA-U checkpoint")
    with whole_directory(out, needed) as unfinished:
        for theirs, ours in card["copied"].items():
            (unfinished / theirs).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(models / ours, unfinished / theirs)
        for theirs, file in card["rebuilt"].items():
            tensors = {n: found[theirs.split("/")[0]][n] for n in file["tensors"]}
            write_tensors(unfinished / theirs, tensors, file["metadata"])
    return out
