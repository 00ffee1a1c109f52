"""Convert a VILA-U checkpoint to a directory of our models.

Tensors are copied as bytes, so a 7B checkpoint takes little memory and can be restored unchanged
(:mod:`~craft.integrations.vila_u.restore`). Tensors that our models do not use, such as the image
decoder, the depth transformer and EMA buffers, are kept aside in ``vila_u/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, SiglipConfig, SiglipModel

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.family.manifest import write_manifest
from craft.integrations.vila_u.carried_files import carry
from craft.integrations.vila_u.checkpoint import SIGLIP, VilaUCheckpoint
from craft.integrations.vila_u.tensor_files import write_tensors
from craft.integrations.vila_u.tokenizer_files import (
    copy_siglip_tokenizer,
    copy_tokenizer,
    is_tokenizer_file,
)
from craft.models.loading import load_config
from craft.models.prompt_template import VICUNA
from craft.runtime.inside import require_plain_name
from craft.runtime.json_cards import read_json, with_checksum
from craft.runtime.stored_tensors import StoredTensor, TensorFile, require_shapes, tensor_files
from craft.runtime.whole_file import require_room, write_json
from craft.runtime.whole_folder import whole_directory

ASIDE, CARD, REST = "vila_u", "conversion.json", "rest.safetensors"
SIGLIP_WEIGHTS, PROJECTOR = "siglip/model.safetensors", "projector.safetensors"
#: VILA-U's names of the projector's tensors -> our names.
PROJECTOR_NAMES = {
    f"layers.{i}.{kind}": f"{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")
}
_PAIR = (f"{SIGLIP}vision_model.", f"{SIGLIP}text_model.")
_UNUSED = ("rqvaesiglip.", "rqtransformer.")
#: Names that a language model's folder cannot have.
_TAKEN = {"siglip", ASIDE, "codebook.safetensors", "manifest.json", "general_prior.safetensors"}


@dataclass(frozen=True)
class Conversion:
    """What a checkpoint's tensors were used for."""

    codebook: Codebook
    used: dict[str, int]  # part of our models -> number of its tensors
    aside: tuple[str, ...]  # names of the tensors that our models do not use


def convert(
    path: Path | str,
    out: Path | str,
    *,
    name: str = "vila-u",
    siglip_config: Path | str | Mapping[str, Any] | None = None,
    siglip_tokenizer: Path | str | None = None,
) -> Conversion:
    """Write ``out`` as a directory for ``--models``: SigLIP pair, codebook, one language model.

    Names and shapes are first checked from headers. ``out`` appears once it is complete.

    Args:
        path: checkpoint, as for ``vila_u.load``.
        out: new directory.
        name: of the language model in it.
        siglip_config: see :meth:`VilaUCheckpoint.siglip_config`.
        siglip_tokenizer: folder of SigLIP's tokenizer, which VILA-U's checkpoints lack; only the
            contrastive loss needs it.

    Raises:
        CraftError: not a checkpoint, or an incomplete one; an unknown tensor or projector; configs
            that do not fit the weights; a tokenizer that is missing or does not load; an invalid
            name; files that are links out of the checkpoint; ``out`` exists.
        OSError: ``out`` does not fit on the disk or cannot be written; nothing of it stays.
    """
    require_plain_name(name, "--name")
    if name.lower() in _TAKEN:
        raise CraftError(f"--name {name} is taken by another part of the directory; choose another")
    source, out = VilaUCheckpoint(path), Path(out)
    if out.exists():
        raise CraftError(f"{out} exists; name a new directory")
    siglip = {n.removeprefix(SIGLIP): t for n, t in source.tensors.items() if n.startswith(_PAIR)}
    aside = {n: t for n, t in source.tensors.items() if not n.startswith(_PAIR)}
    for tensor_name in aside:
        if not tensor_name.startswith(_UNUSED):
            raise CraftError(f"{source.folder} holds {tensor_name!r}, which no VILA-U tower has")
    for scale in ("logit_scale", "logit_bias"):  # one tensor with two names, usually stored once
        for stored in (f"rqvaesiglip.{scale}", f"{SIGLIP}{scale}"):
            if stored in aside:
                siglip.setdefault(scale, aside[stored])
    codebook = source.codebook
    config = _siglip(source.siglip_config(siglip_config), source.folder)
    _require_weights(_shapes(siglip), SiglipModel, config, source.folder)
    projector_files = tensor_files(source.root / "mm_projector", "VILA-U's projector")
    projector = _projector(projector_files, source.root / "mm_projector")
    language_model, llm_config = _language_model(source.root / "llm")
    card = _card(source, name, projector)
    _require_projector(card["projector"], codebook.dim, llm_config, source.root)
    needs = _size(source.root)
    require_room(out, needs, "the converted checkpoint")
    with whole_directory(out, needs) as unfinished:
        config.save_pretrained(unfinished / "siglip")
        if siglip_tokenizer is not None:
            copy_siglip_tokenizer(Path(siglip_tokenizer), unfinished / "siglip", config)
        copied = copy_tokenizer(source.root / "llm", unfinished, name, llm_config)
        write_json(unfinished / name / "craft.json", card)
        codebook.save(unfinished / "codebook.safetensors")
        write_tensors(unfinished / SIGLIP_WEIGHTS, siglip, {"format": "pt"})
        copied |= _copy_language_model(source.root / "llm", unfinished, name)
        write_tensors(unfinished / name / PROJECTOR, projector, {"format": "pt"})
        write_tensors(unfinished / ASIDE / REST, aside, {"format": "pt"})
        copied |= _copy_the_rest(source, projector_files, unfinished)
        _write_record(unfinished, name, copied, source, projector_files)
        write_manifest(unfinished, {}, without=ASIDE)
    used = {"siglip": len(siglip), "projector": len(projector), name: len(language_model)}
    return Conversion(codebook, used, tuple(aside))


def _write_record(
    out: Path,
    name: str,
    copied: Mapping[str, str],
    source: VilaUCheckpoint,
    projector_files: Mapping[str, TensorFile],
) -> None:
    """Write the record that the way back needs."""
    files = {"vision_tower": source.files, "mm_projector": projector_files}
    conversion = {
        "name": name,
        "copied": copied,  # their file -> our file
        "rebuilt": {
            f"{folder}/{file}": {"metadata": held.metadata, "tensors": list(held.tensors)}
            for folder, group in files.items()
            for file, held in group.items()
        },
    }
    write_json(out / ASIDE / CARD, with_checksum(conversion))


def _siglip(config: Mapping[str, Any], folder: Path) -> SiglipConfig:
    parts: dict[str, Any] = {key: dict(part) for key, part in config.items()}
    for part in parts.values():
        part.pop("architectures", None)
    # The text tower has the pair's width.
    parts["text_config"].setdefault("projection_size", parts["vision_config"]["hidden_size"])
    try:
        return SiglipConfig(**parts)
    except Exception as error:  # whatever transformers makes of other types
        said = " ".join(str(error).split())[:200]
        raise CraftError(
            f"{folder}: its SigLIP config is none ({said}); pass another siglip_config"
        ) from error


def _shapes(tensors: Mapping[str, StoredTensor]) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _require_weights(
    stored: Mapping[str, tuple[int, ...]], kind: Any, config: Any, folder: Path
) -> None:
    """Raises CraftError unless the stored tensors are those of a model of this config."""
    auto = hasattr(kind, "from_config")  # AutoModel..., not a model's own class
    try:
        with torch.device("meta"):
            model = kind.from_config(config, trust_remote_code=False) if auto else kind(config)
    except Exception as error:  # whatever a model makes of a config that is none
        said = " ".join(str(error).split())[:200]
        raise CraftError(
            f"{folder}: no model can be made of its config ({type(error).__name__}: {said}); get "
            "config.json again"
        ) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    # One copy of weights that this config ties is enough.
    pairs = dict(getattr(model, "all_tied_weights_keys", None) or {})
    either = [*pairs.items(), *((source, target) for target, source in pairs.items())]
    tied = {name for name, other in either if name not in stored and other in stored}
    require_shapes(stored, {n: shape for n, shape in wanted.items() if n not in tied}, folder)


def _language_model(folder: Path) -> tuple[set[str], Any]:
    """Names of the language model's tensors, and its config, against which they are checked."""
    what = "VILA-U's language model"
    config = load_config(folder, what)
    shapes = {}
    for file in tensor_files(folder, what).values():
        shapes |= _shapes(file.tensors)
    own = {  # old files also store computed buffers
        name: shape for name, shape in shapes.items() if not name.endswith("rotary_emb.inv_freq")
    }
    _require_weights(own, AutoModelForCausalLM, config, folder)
    return set(shapes), config


def _require_projector(shape: Mapping[str, int], dim: int, llm: Any, root: Path) -> None:
    for ends, found, what, wanted in (
        ("takes", shape["width"], "the codebook's", dim),
        ("gives", shape["hidden"], "the language model's hidden_size", llm.hidden_size),
    ):
        if found != wanted:
            raise CraftError(
                f"{root / 'mm_projector'} {ends} {found} dimensions, {what} is {wanted}: they do "
                "not belong together"
            )


def _projector(files: Mapping[str, TensorFile], folder: Path) -> dict[str, StoredTensor]:
    tensors = {n: t for file in files.values() for n, t in file.tensors.items()}
    config = read_json(folder / "config.json", "the projector's config", foreign=True)
    kind = config.get("mm_projector_type")
    if kind != "mlp2x_gelu" or set(tensors) != set(PROJECTOR_NAMES):
        raise CraftError(
            f"{folder} holds a projector {kind!r} of {sorted(tensors)}; only mlp2x_gelu, as in "
            "both releases, is supported"
        )
    projector = {ours: tensors[theirs] for theirs, ours in PROJECTOR_NAMES.items()}
    inner, width = projector["0.weight"].shape
    hidden = projector["2.weight"].shape[0]
    wanted = {"0.weight": (inner, width), "0.bias": (inner,)}
    wanted |= {"2.weight": (hidden, inner), "2.bias": (hidden,)}
    require_shapes(_shapes(projector), wanted, folder)
    return projector


def _card(
    source: VilaUCheckpoint, name: str, projector: Mapping[str, StoredTensor]
) -> dict[str, Any]:
    inner, width = projector["0.weight"].shape
    return {
        "name": name,
        "codebook_fingerprint": source.codebook.fingerprint,
        "projector": {"width": width, "hidden": projector["2.weight"].shape[0], "inner": inner},
        "dtype": str(source.dtype).removeprefix("torch."),
        "template": VICUNA.to_dict(),
    }


def _copy_language_model(folder: Path, out: Path, name: str) -> dict[str, str]:
    """Copy the language model's files unchanged, except for the tokenizer's."""
    copied = {}
    for file in _files(folder):
        if not is_tokenizer_file(file):
            copied[f"llm/{file.name}"] = f"{name}/{file.name}"
            carry(folder, file.name, out / name / file.name, f"the files in {folder}")
    return copied


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy_the_rest(
    source: VilaUCheckpoint, projector_files: Mapping[str, TensorFile], out: Path
) -> dict[str, str]:
    """Copy configs and other files beside the weights, except hidden ones such as .git."""
    copied = {}
    rebuilt = {"vision_tower": source.files, "mm_projector": projector_files, "": {}}
    if source.siglip_folder is not None:
        rebuilt.setdefault(source.siglip_folder, {})
    for folder, tensors in rebuilt.items():
        for file in sorted((source.root / folder).iterdir()):
            if file.is_file() and file.name not in tensors and not file.name.startswith("."):
                relative = f"{folder}/{file.name}".lstrip("/")
                copied[relative] = f"{ASIDE}/{relative}"
                carry(file.parent, file.name, out / ASIDE / relative, f"the files in {file.parent}")
    return copied
