"""The product of an adaptation: encoder weights and the fingerprint of the codebook they speak.

A pack is a directory: ``pack.json``, ``encoder.safetensors`` and, when one was counted,
``prior.safetensors``. It plugs into every language model aligned to that codebook, into no other.

A pack of adapters has ``adapters.safetensors`` instead, with only what was added to an encoder, and
the hash of that encoder, without which it cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.configuration import DiscreteVisionConfig
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.json_cards import CHECKSUM, as_card, read_json, with_checksum
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import fill, read_tensors
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.whole_file import files_together, write_json, write_tensors
from craft.settings.choices import MethodName, Precision
from craft.settings.methods import METHODS

#: Of a whole encoder, and of adapters; earlier versions wrote cards without a checksum, 1 and 2.
FORMAT, ADAPTER_FORMAT = 3, 4
_WITHOUT_CHECKSUM = {1: FORMAT, 2: ADAPTER_FORMAT}
_CARD, _WEIGHTS, _PRIOR = "pack.json", "encoder.safetensors", "prior.safetensors"
_ADAPTERS = "adapters.safetensors"


class EncoderMismatchError(CraftError):
    """Adapters met another encoder than the one they were trained in."""


class PackCard(BaseModel):
    """What ``pack.json`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    codebook_fingerprint: str
    encoder_hash: str
    vision_config: dict[str, Any]
    read_layer: int
    notes: dict[str, Any]
    base_hash: str | None = None


@dataclass(frozen=True)
class BaseEncoder:
    """The encoder that adapters were trained in: its hash, and which of a pack's weights it has."""

    hash: str
    names: frozenset[str]


@dataclass(frozen=True)
class EncoderPack:
    """An adapted encoder on its way between machines.

    Args:
        weights: the tower's state, name -> tensor.
        vision_config: the tower's DiscreteVisionConfig as a dict.
        read_layer: block that is quantised.
        codebook_fingerprint: of the codebook the weights speak.
        prior: first-level code frequencies of the domain, for pruning.
        notes: how the pack came to be (domain, surrogate, settings, held-out classes).
        base: of a pack of adapters; its weights are in ``weights`` too, but not in the files.
    """

    weights: dict[str, Tensor]
    vision_config: dict[str, Any]
    read_layer: int
    codebook_fingerprint: str
    prior: TokenPrior | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    base: BaseEncoder | None = None

    @property
    def own(self) -> dict[str, Tensor]:
        """The weights that the files hold: all, or those that the base encoder does not have."""
        names = self.base.names if self.base else frozenset()
        return {name: x for name, x in self.weights.items() if name not in names}

    @property
    def method(self) -> MethodName:
        """What made the pack."""
        return self.notes.get("config", {}).get("method", "craft")

    @property
    def reads(self) -> Literal["codes", "features"]:
        """What language models read of the encoder, as they did when the pack was made."""
        return "codes" if METHODS[self.method].quantized else "features"

    @property
    def precision(self) -> Precision:
        """Of the products that the pack's codes were validated and counted with, and are made with
        again; float32 in packs that do not say."""
        return self.notes.get("precision", "fp32")

    @property
    def encoder_hash(self) -> str:
        return tensor_hash(self.weights)

    @classmethod
    def of(
        cls,
        tower: DiscreteVisionTower,
        prior: TokenPrior | None = None,
        *,
        base: DiscreteVisionTower | None = None,
        **notes: Any,
    ) -> EncoderPack:
        """Take the tower's present weights; they are copied.

        Args:
            base: the encoder that the tower's adapters were put into, for a pack of adapters: only
                weights that ``base`` does not have, or has otherwise, are saved.
        """
        weights = {name: x.detach().clone() for name, x in tower.state_dict().items()}
        before = None
        if base is not None:
            pretrained = base.state_dict()
            same = frozenset(
                name
                for name, x in weights.items()
                if name in pretrained and torch.equal(x.cpu(), pretrained[name].cpu())
            )
            before = BaseEncoder(tensor_hash(pretrained), same)
        return cls(
            weights,
            tower.config.to_diff_dict(),
            tower.read_layer,
            tower.codebook.fingerprint,
            prior,
            notes | {"precision": tower.precision},
            before,
        )

    def tower(self, codebook: Codebook) -> DiscreteVisionTower:
        """The adapted tower, frozen and in eval mode.

        Raises:
            CodebookMismatchError: the codebook is not the one the pack speaks; names both.
        """
        codebook.require_fingerprint(self.codebook_fingerprint)
        settings = {k: v for k, v in self.vision_config.items() if k != "model_type"}
        settings["read_layer"] = self.read_layer
        config = DiscreteVisionConfig(**settings)
        tower = DiscreteVisionTower(config, codebook)
        fill(tower, self.weights, "the pack")
        tower.precision = self.precision
        return tower.eval().requires_grad_(False)

    def save(self, directory: Path | str) -> Path:
        """Write the pack; the directory is made if need be.

        A pack that is there already is replaced once all files of the new one are written.

        Raises:
            OSError: it could not be written; names path, room needed and room there is.
        """
        directory = Path(directory)
        file, other = (_ADAPTERS, _WEIGHTS) if self.base else (_WEIGHTS, _ADAPTERS)
        card = PackCard(
            format=ADAPTER_FORMAT if self.base else FORMAT,
            codebook_fingerprint=self.codebook_fingerprint,
            encoder_hash=self.encoder_hash,
            vision_config=self.vision_config,
            read_layer=self.read_layer,
            notes=self.notes,
            base_hash=self.base.hash if self.base else None,
        )
        own = self.own
        with files_together(directory, sum(x.nbytes for x in own.values())) as written:
            write_tensors(written / file, own)
            if self.prior is not None:
                self.prior.save(written / _PRIOR)
            write_json(written / _CARD, with_checksum(card.model_dump()))
        for name, stays in {other: False, _PRIOR: self.prior is not None}.items():
            if not stays:
                (directory / name).unlink(missing_ok=True)  # of an earlier pack
        return directory

    @classmethod
    def load(
        cls, directory: Path | str, base: Callable[[], DiscreteVisionTower] | None = None
    ) -> EncoderPack:
        """Read a pack and check that its weights are the ones its card was written for.

        Args:
            base: makes the pretrained encoder, such as ``ModelFamily.load().pretrained_tower``;
                called only for a pack of adapters, which cannot do without.

        Raises:
            StoredFileError: a file that is missing, cut short, damaged or a Git LFS pointer.
            CraftError: not a pack, a newer format, weights that were changed since, or adapters and
                no ``base``.
            EncoderMismatchError: adapters of another encoder than ``base``; names both.
        """
        directory = Path(directory)
        if not (directory / _CARD).is_file():
            raise CraftError(f"{directory} is not an encoder pack: it holds no {_CARD}")
        card = _read_card(directory / _CARD)
        file = directory / (_WEIGHTS if card.base_hash is None else _ADAPTERS)
        weights, before = read_tensors(file, "the weights of an encoder pack").tensors, None
        if card.base_hash is not None:
            pretrained = _pretrained(directory, card.base_hash, base, card.notes)
            before = BaseEncoder(card.base_hash, frozenset(pretrained) - frozenset(weights))
            weights = pretrained | weights
        found = tensor_hash(weights)
        if found != card.encoder_hash:
            raise CraftError(
                f"{file} hashes to {found}, its card says "
                f"{card.encoder_hash}: the weights were changed after the pack was saved"
            )
        prior = TokenPrior.load(directory / _PRIOR) if (directory / _PRIOR).is_file() else None
        return cls(
            weights,
            card.vision_config,
            card.read_layer,
            card.codebook_fingerprint,
            prior,
            card.notes,
            before,
        )


def _read_card(path: Path) -> PackCard:
    what = "the card of an encoder pack"
    content = read_json(path, what)
    written = content.get("format")
    if not isinstance(written, int) or written not in (*_WITHOUT_CHECKSUM, FORMAT, ADAPTER_FORMAT):
        raise CraftError(
            f"{path} has format {written!r}, this version reads 1 to {ADAPTER_FORMAT}; update "
            "the package"
        )
    if written not in _WITHOUT_CHECKSUM and CHECKSUM not in content:
        raise StoredFileError(f"{path}, {what}, has lost its checksum; get the pack again")
    card = as_card(content, path, what, PackCard)
    adapters = _WITHOUT_CHECKSUM.get(written, written) == ADAPTER_FORMAT
    if adapters != (card.base_hash is not None):
        raise StoredFileError(f"{path}, {what}, has format {written} and base {card.base_hash}")
    return card


def _pretrained(
    directory: Path,
    wanted: str,
    base: Callable[[], DiscreteVisionTower] | None,
    notes: dict[str, Any],
) -> dict[str, Tensor]:
    """The weights of the encoder that adapters belong to."""
    if base is None:
        raise CraftError(
            f"{directory} holds adapters alone, of the encoder {wanted}; open "
            "it with the family of models it belongs to: ModelFamily.plug"
        )
    weights = base().state_dict()
    found = tensor_hash(weights)
    if found != wanted:
        raise EncoderMismatchError(
            f"{directory} holds adapters of the encoder {wanted}, but the one at hand is {found}; "
            "adapters do nothing useful in another encoder: use the models they were trained with, "
            f"or adapt again{made_with(notes)}"
        )
    return weights


def made_with(notes: dict[str, Any]) -> str:
    """Which models a pack was made with, to end the message of an error about others; empty if its
    notes do not say."""
    if "models" not in notes:
        return ""
    if notes["models"] is None:
        return "; it was made with the models that come with the package: leave --models out"
    return f"; it was made with --models {notes['models']}"
