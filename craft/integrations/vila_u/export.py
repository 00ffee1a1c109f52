"""Export an adapted encoder to a VILA-U checkpoint that ``vila_u.load`` reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from craft.codebook import CodebookMismatchError, shorten
from craft.errors import CraftError
from craft.integrations.vila_u.carried_files import carried
from craft.integrations.vila_u.checkpoint import VilaUCheckpoint
from craft.integrations.vila_u.layout import codebook_of, encoder_of, encoder_weights
from craft.integrations.vila_u.load import stored_name
from craft.integrations.vila_u.tensor_files import write_tensors
from craft.runtime.inside import inside
from craft.runtime.stored_tensors import StoredTensor
from craft.runtime.whole_file import require_room
from craft.runtime.whole_folder import whole_directory

if TYPE_CHECKING:
    from craft.models.encoder_pack import EncoderPack
    from craft.models.vision_tower import DiscreteVisionTower


def export(
    encoder: DiscreteVisionTower | EncoderPack | nn.Module,
    checkpoint: Path | str,
    out: Path | str,
    *,
    copy: bool = False,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a copy of ``checkpoint`` with this encoder in place of its own.

    Only ``vision_tower`` is written: the encoder's weights in the original's dtype, every other
    tensor byte for byte, shared ones once. All else is linked.

    Args:
        encoder: an adapted tower, an encoder pack, or a VILA-U model whose encoder was trained.
        checkpoint: the checkpoint that the encoder came from.
        out: new directory. VILA-U chooses prompts by its name, so it should contain
            ``vila-u-7b-256`` or ``vila-u-7b-384``.
        copy: whether to copy language model and projector instead of linking them.
        dtype: of the encoder's weights; by default the checkpoint's. Rounding to bfloat16 changes
            codes; they stay with torch.float32 here and in ``vila_u.load(path,
            model_dtype=torch.float32)``.

    Raises:
        CodebookMismatchError: the encoder speaks another codebook.
        CraftError: ``out`` exists; weights that VILA-U has no place for; files to be copied that
            are links out of the checkpoint.
        OSError: ``out`` has no room or cannot be written; nothing of it stays.
    """
    source, out = VilaUCheckpoint(checkpoint), Path(out)
    if out.exists():
        raise CraftError(f"{out} exists; name a new directory")
    weights, fingerprint = _weights(encoder)
    if fingerprint != source.codebook.fingerprint:
        raise CodebookMismatchError(
            f"the encoder speaks codebook {shorten(fingerprint)}, {source.root} has "
            f"{shorten(source.codebook.fingerprint)}; export into the checkpoint it came from"
        )
    replaced = replacements(weights, source.tensors, dtype)
    beside = [entry for entry in source.folder.iterdir() if entry.name not in source.files]
    others = [entry for entry in source.root.iterdir() if entry.name != "vision_tower"]
    # The folder that the tower's config names must be in the checkpoint itself.
    held = (source.siglip_folder or "").split("/")[0]
    copied = [entry for entry in others if copy or entry.name == held]
    for entry in [*beside, *copied]:  # before anything is written
        _require_own(entry)
    needed = sum(map(_size, [source.folder, *copied]))
    require_room(out, needed, "the VILA-U checkpoint")
    with whole_directory(out, needed) as unfinished:
        folder = unfinished / "vision_tower"
        folder.mkdir()
        for entry in others:
            _link(entry, unfinished / entry.name, entry in copied)
        for entry in beside:
            if entry.is_dir():
                shutil.copytree(entry, folder / entry.name)
            else:
                shutil.copy(entry, folder / entry.name)
        for name, file in source.files.items():
            tensors = {n: replaced.get(n, stored) for n, stored in file.tensors.items()}
            write_tensors(folder / name, tensors, file.metadata)
    return out


def replacements(
    weights: dict[str, Tensor], stored: dict[str, StoredTensor], dtype: torch.dtype | None = None
) -> dict[str, Tensor | StoredTensor]:
    """The encoder's weights by their stored names, in the stored dtypes or in ``dtype``.

    Raises:
        CraftError: a weight that the checkpoint does not have.
    """
    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    replaced: dict[str, Tensor | StoredTensor] = {}
    for name, tensor in weights.items():
        place = stored.get(stored_name(name))
        if place is None or place.shape != tuple(tensor.shape):
            expected = "none" if place is None else f"{place.shape}"
            raise CraftError(
                f"VILA-U has no place for the encoder's {name} {tuple(tensor.shape)} (it has "
                f"{expected}); an encoder with its own class token cannot be exported"
            )
        replaced[stored_name(name)] = tensor.detach().to(dtype or dtypes[place.dtype])
    return replaced


def _weights(encoder: Any) -> tuple[dict[str, Tensor], str]:
    """Weights by their names in a DiscreteVisionTower, and the codebook's fingerprint."""
    if hasattr(encoder, "codebook_fingerprint"):
        return encoder.weights, encoder.codebook_fingerprint
    if hasattr(encoder, "codebook"):
        return dict(encoder.state_dict()), encoder.codebook.fingerprint
    found = encoder_of(encoder)
    return encoder_weights(found), codebook_of(found.quantizer).fingerprint


def _require_own(entry: Path) -> None:
    """Raises StoredFileError for a link out of the checkpoint or out of one of its folders."""
    if not entry.is_dir():
        carried(entry.parent, entry.name, f"the files in {entry.parent}")
        return
    for path in entry.rglob("*"):
        name, what = str(path.relative_to(entry)), f"the files in {entry}"
        if path.is_dir():
            inside(entry, name, what)
        else:
            carried(entry, name, what)


def _size(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(path.stat().st_size for path in files if path.is_file())


def _link(source: Path, target: Path, copy: bool) -> None:
    if not copy:
        os.symlink(source.resolve(), target)
    elif source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
