"""Restore a VILA-U checkpoint that :mod:`~craft.integrations.vila_u.convert` converted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.integrations.vila_u.carried_files import carried
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
from craft.runtime.inside import inside, require_plain_name
from craft.runtime.json_cards import read_card
from craft.runtime.stored_tensors import StoredTensor, read_header
from craft.runtime.whole_file import require_room
from craft.runtime.whole_folder import whole_directory

if TYPE_CHECKING:
    from craft.models.encoder_pack import EncoderPack


def restore(
    models: Path | str,
    out: Path | str,
    *,
    pack: EncoderPack | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write the VILA-U checkpoint that ``models`` was converted from, byte for byte.

    Args:
        models: directory that :func:`~craft.integrations.vila_u.convert.convert` wrote.
        out: new directory. VILA-U chooses prompts by its name, so it should contain
            ``vila-u-7b-256`` or ``vila-u-7b-384``.
        pack: adapted encoder that replaces the checkpoint's.
        dtype: of the pack's weights, as for :func:`~craft.integrations.vila_u.export.export`.

    Raises:
        CraftError: ``models`` was not converted from VILA-U, its record is damaged or names files
            outside ``models`` or ``out``, or ``out`` exists. Nothing is written then.
        CodebookMismatchError: the pack speaks another codebook.
    """
    models, out = Path(models), Path(out)
    if not (models / ASIDE / CARD).is_file():
        raise CraftError(f"{models} was not converted from VILA-U: it holds no {ASIDE}/{CARD}")
    if out.exists():
        raise CraftError(f"{out} exists; name a new directory")
    what = "the record of the conversion"
    card = read_card(models / ASIDE / CARD, what, _Record)
    copied = {
        inside(out, theirs, what).relative_to(out): carried(models, ours, what)
        for theirs, ours in card.copied.items()
    }
    language_model = models / require_plain_name(card.name, f"the name in {models / ASIDE / CARD}")
    tower = {SIGLIP + n: t for n, t in read_header(models / SIGLIP_WEIGHTS).tensors.items()}
    tower |= read_header(models / ASIDE / REST).tensors
    projector = read_header(language_model / PROJECTOR).tensors
    found: dict[str, dict[str, StoredTensor | Tensor]] = {
        "vision_tower": dict(tower),
        "mm_projector": {theirs: projector[ours] for theirs, ours in PROJECTOR_NAMES.items()},
    }
    if pack is not None:
        Codebook.load(models / "codebook.safetensors").require_fingerprint(
            pack.codebook_fingerprint
        )
        found["vision_tower"] |= replacements(pack.weights, tower, dtype)
    rebuilt = {
        inside(out, theirs, what).relative_to(out): (_named(found, theirs, file.tensors), file)
        for theirs, file in card.rebuilt.items()
    }
    needed = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    require_room(out, needed, "the VILA-U checkpoint")
    with whole_directory(out, needed) as unfinished:
        for theirs, ours in copied.items():
            (unfinished / theirs).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ours, unfinished / theirs)
        for theirs, (tensors, file) in rebuilt.items():
            write_tensors(unfinished / theirs, tensors, file.metadata)
    return out


class _Rebuilt(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    metadata: dict[str, str]
    tensors: list[str]


class _Record(BaseModel):
    """The record of a conversion: their files -> our files, and the content of weight files."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    copied: dict[str, str]
    rebuilt: dict[str, _Rebuilt]


def _named(
    found: Mapping[str, Mapping[str, StoredTensor | Tensor]], theirs: str, names: Sequence[str]
) -> dict[str, StoredTensor | Tensor]:
    """The tensors of one of VILA-U's files; raises CraftError if one is missing."""
    held = found.get(theirs.split("/")[0], {})
    missing = [name for name in names if name not in held]
    if missing:
        raise CraftError(
            f"the record of the conversion lists {missing[0]!r:.80} in {theirs!r:.80}, which the "
            "models do not hold; convert the checkpoint again"
        )
    return {name: held[name] for name in names}
