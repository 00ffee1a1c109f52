"""A released VILA-U checkpoint on disk, read without VILA-U's code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.runtime.inside import inside
from craft.runtime.json_cards import read_json
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import StoredTensor, TensorFile, read_tensor, tensor_files

SIGLIP = "rqvaesiglip.siglip_model."
VISION = f"{SIGLIP}vision_model."
_CODEBOOK = "rqvaesiglip.quantizer.codebooks.{}.weight"
_DEPTH = "rqtransformer.pos_emb_d"
#: Width -> SigLIP model of one of the two releases, whose configs only name its hub id.
_RELEASED = {
    1024: {"layers": 24, "intermediate": 4096, "image_size": 256, "patch_size": 16},
    1152: {"layers": 27, "intermediate": 4304, "image_size": 384, "patch_size": 14},
}


class VilaUCheckpoint:
    """The directory that ``vila_u.load`` takes: ``llm``, ``vision_tower`` and ``mm_projector``.

    Only headers are read until tensors are requested. Depth, size and sharing of the codebook are
    those of the stored tensors; the config must agree.

    Raises:
        CraftError: not such a directory; pickles; a truncated file.
    """

    def __init__(self, path: Path | str):
        root = Path(path)
        if (root / "model" / "vision_tower").is_dir():  # where vila_u.load looks for it
            root = root / "model"
        self.root = root
        self.folder = root / "vision_tower"
        if not (self.folder / "config.json").is_file():
            raise CraftError(
                f"{path} is not a VILA-U checkpoint: {self.folder / 'config.json'} is missing; "
                "name the directory that holds llm, vision_tower and mm_projector"
            )
        self.config: dict[str, Any] = read_json(
            self.folder / "config.json", "the config of VILA-U's tower", foreign=True
        )
        self._stated = self._rqvaesiglip()
        self.files: dict[str, TensorFile] = tensor_files(self.folder, "weights of VILA-U's tower")
        self.tensors: dict[str, StoredTensor] = {
            name: tensor for file in self.files.values() for name, tensor in file.tensors.items()
        }

    def _rqvaesiglip(self) -> dict[str, Any]:
        """What the tower's config says of its quantizer. Raises CraftError for wrong types."""
        stated = self.config.get("rqvaesiglip") or {}
        said = repr(stated)
        if isinstance(stated, dict):
            shape, named = stated.get("code_shape"), stated.get("pretrained_model")
            fits = shape is None or (isinstance(shape, list) and shape and type(shape[-1]) is int)
            if fits and (named is None or isinstance(named, str)):
                return stated
            said = f"code_shape {shape!r:.40} and pretrained_model {named!r:.40}"
        raise CraftError(
            f"{self.folder / 'config.json'}: rqvaesiglip is {said:.120}, expected a list of whole "
            "numbers and a name; get the file again"
        )

    def tensor(self, name: str) -> Tensor:
        """One tensor, memory-mapped from its file."""
        if name not in self.tensors:
            raise CraftError(f"{self.folder} holds no {name}; the download is not complete")
        return read_tensor(self.tensors[name].path, name, "weights of VILA-U's tower")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor, without reading it."""
        if name not in self.tensors:
            raise CraftError(f"{self.folder} holds no {name}; the download is not complete")
        return self.tensors[name].shape

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the encoder's weights; bfloat16 in both releases."""
        return self.tensor(f"{VISION}embeddings.patch_embedding.bias").dtype

    @cached_property
    def levels(self) -> int:
        """Residual depth: 4 at 256 pixels, 16 at 384."""
        stated = self._stated.get("code_shape")
        depths = set() if stated is None else {stated[-1]}
        if _DEPTH in self.tensors:
            depths.add(self.tensors[_DEPTH].shape[1])
        if len(depths) != 1:
            raise CraftError(
                f"{self.folder}: residual depth is {sorted(depths) or 'unknown'}, by code_shape in "
                f"config.json ({stated}) and the shape of {_DEPTH}; they must agree"
            )
        return depths.pop()

    @cached_property
    def codebook(self) -> Codebook:
        """The codewords in float32, without VILA-U's padding row.

        Raises:
            CraftError: some levels are missing, or their sharing contradicts the config.
        """
        found = [i for i in range(self.levels) if _CODEBOOK.format(i) in self.tensors]
        shared = self._stated.get("shared_codebook")
        if len(found) not in ({1, self.levels} if shared else {self.levels}):
            raise CraftError(
                f"{self.folder} holds the codebooks of levels {found} of {self.levels} and its "
                f"config says shared_codebook={shared}; the download is not complete"
            )
        tables = [self.tensor(_CODEBOOK.format(i))[:-1] for i in found]
        if all(torch.equal(table, tables[0]) for table in tables[1:]):
            return Codebook(tables[0].float(), self.levels)
        if shared:
            raise CraftError(
                f"{self.folder}: config.json says shared_codebook=true, but its codebooks differ"
            )
        return Codebook(torch.stack(tables).float())

    def siglip_config(self, given: Path | str | Mapping[str, Any] | None = None) -> dict[str, Any]:
        """``vision_config`` and ``text_config`` of the checkpoint's SigLIP.

        The checkpoint's config only names a hub id. Tried in order: ``given`` (a folder, a
        config.json or its content), the named folder if it is inside the checkpoint, and the SigLIP
        of the release of this width.

        Raises:
            CraftError: there is none, or it does not fit the weights.
        """
        named = self._stated.get("pretrained_model")
        if given is None and self.siglip_folder is not None:
            given = self.root / self.siglip_folder
        width = self.shape(f"{VISION}embeddings.patch_embedding.bias")[0]
        config: Mapping[str, Any] | None
        if given is None:
            config = _released(width)
        elif isinstance(given, Mapping):
            config = given
        else:
            path = Path(given)
            path = path / "config.json" if path.is_dir() else path
            if not path.is_file():
                raise CraftError(f"siglip_config {given}: no config.json there")
            config = read_json(path, "SigLIP's config", foreign=True)
        if config is None:
            raise CraftError(
                f"{self.folder}: this encoder has width {width}, unlike both releases, and its "
                f"config only names SigLIP as {named!r}; pass siglip_config, a folder with "
                "SigLIP's config.json"
            )
        self._require_fit(config, "passed or found" if given is not None else f"of width {width}")
        return {key: config[key] for key in ("vision_config", "text_config")}

    @cached_property
    def siglip_folder(self) -> str | None:
        """The folder of SigLIP's config in the checkpoint, if the tower's config names one. What
        lies elsewhere on this machine is not the checkpoint's to name."""
        named = self._stated.get("pretrained_model")
        try:
            folder = inside(self.root, named, "the config of VILA-U's tower").resolve()
        except StoredFileError:  # most often a hub id, which is not a folder
            return None
        root = self.root.resolve()
        if folder == root or not (folder / "config.json").is_file():
            return None
        return folder.relative_to(root).as_posix()

    def _require_fit(self, config: Mapping[str, Any], which: str) -> None:
        for part in ("vision_config", "text_config"):
            if not isinstance(config.get(part), Mapping):
                raise CraftError(
                    f"the SigLIP config {which} has no {part}; pass the siglip_config that belongs "
                    f"to {self.folder}"
                )
        vision = config["vision_config"]
        blocks = {n.split(".")[5] for n in self.tensors if n.startswith(f"{VISION}encoder.layers.")}
        first = self.shape(f"{VISION}encoder.layers.0.mlp.fc1.weight")
        patch = self.shape(f"{VISION}embeddings.patch_embedding.weight")[-1]
        positions = self.shape(f"{VISION}embeddings.position_embedding.weight")[0]
        for key, stored in (
            ("image_size", patch * math.isqrt(positions)),
            ("hidden_size", first[1]),
            ("intermediate_size", first[0]),
            ("num_hidden_layers", len(blocks)),
            ("patch_size", patch),
        ):
            if vision.get(key) != stored:
                raise CraftError(
                    f"the SigLIP config {which} has vision {key}={vision.get(key)}, the weights "
                    f"have {stored}; pass the siglip_config that belongs to {self.folder}"
                )


def _released(width: int) -> dict[str, Any] | None:
    known = _RELEASED.get(width)
    if known is None:
        return None
    block = {
        "hidden_size": width,
        "intermediate_size": known["intermediate"],
        "num_hidden_layers": known["layers"],
        "num_attention_heads": 16,
    }
    vision = block | {"image_size": known["image_size"], "patch_size": known["patch_size"]}
    text = block | {"vocab_size": 32000, "max_position_embeddings": 64}
    return {"vision_config": vision, "text_config": text}
