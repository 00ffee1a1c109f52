"""The product of an adaptation: encoder weights and the fingerprint of the codebook they speak.

A pack is a directory: ``pack.json``, ``encoder.safetensors`` and, when one was counted,
``prior.safetensors``; also the ``domain.json`` of a user's data and the ``language_model`` that was
trained instead of the encoder. It plugs into every language model aligned to that codebook, into no
other.

A pack of adapters has ``adapters.safetensors`` instead, with only what was added to an encoder, and
the hash of that encoder, without which it cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.configuration import DiscreteVisionConfig
from craft.models.pack_card import (
    ADAPTER_FORMAT,
    ADAPTERS,
    CARD,
    FORMAT,
    PARTS,
    PRIOR,
    WEIGHTS,
    PackCard,
    part_hashes,
    read_pack_card,
)
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.json_cards import with_checksum
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import fill, read_tensors
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.whole_file import write_json, write_tensors
from craft.runtime.whole_folder import parts_swapped
from craft.settings.choices import MethodName, Precision
from craft.settings.methods import METHODS


class EncoderMismatchError(CraftError):
    """Adapters met another encoder than the one they were trained in."""


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
            StoredFileError: no encoder has such a ``vision_config``, or other weights belong to it.
        """
        codebook.require_fingerprint(self.codebook_fingerprint)
        settings = {k: v for k, v in self.vision_config.items() if k != "model_type"}
        settings["read_layer"] = self.read_layer
        try:
            tower = DiscreteVisionTower(DiscreteVisionConfig(**settings), codebook)
        except CraftError:
            raise
        except Exception as error:  # transformers and torch raise whatever it makes them stumble on
            told = " ".join(str(error).split())
            raise StoredFileError(
                f"the vision_config of the pack's card makes no encoder ({type(error).__name__}: "
                f"{told:.200}); get the pack again"
            ) from error
        fill(tower, self.weights, "the pack")
        tower.precision = self.precision
        return tower.eval().requires_grad_(False)

    def save(
        self, directory: Path | str, others: Mapping[str, Callable[[Path], Any]] | None = None
    ) -> Path:
        """Write the pack; the directory is made if need be.

        A pack that is there already is replaced as a whole once all files of the new one are
        written. A process that is killed leaves the old one, the new one, or a directory that is
        refused as a pack. Files that belong to no pack stay.

        Args:
            others: what else belongs to the pack, :data:`~craft.models.pack_card.LANGUAGE_MODEL` or
                the domain's manifest: name -> what writes it to a path.

        Raises:
            OSError: it could not be written; names path, room needed and room there is.
        """
        directory = Path(directory)
        own = self.own
        needs = sum(x.nbytes for x in own.values())
        with parts_swapped(directory, PARTS, CARD, needs) as written:
            write_tensors(written / (ADAPTERS if self.base else WEIGHTS), own)
            if self.prior is not None:
                self.prior.save(written / PRIOR)
            for name, write in (others or {}).items():
                write(written / name)
            card = PackCard(
                format=ADAPTER_FORMAT if self.base else FORMAT,
                codebook_fingerprint=self.codebook_fingerprint,
                encoder_hash=self.encoder_hash,
                vision_config=self.vision_config,
                read_layer=self.read_layer,
                notes=self.notes,
                base_hash=self.base.hash if self.base else None,
                files=part_hashes(written),
            )
            write_json(written / CARD, with_checksum(card.model_dump()))
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
        card = read_pack_card(directory)
        file = directory / (WEIGHTS if card.base_hash is None else ADAPTERS)
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
        prior = TokenPrior.load(directory / PRIOR) if (directory / PRIOR).is_file() else None
        return cls(
            weights,
            card.vision_config,
            card.read_layer,
            card.codebook_fingerprint,
            prior,
            card.notes,
            before,
        )


def replace_prior(directory: Path | str, prior: TokenPrior) -> None:
    """Put a prior into a pack on the disk, in place of the one it may have; the rest stays.

    Raises:
        CraftError: as :meth:`EncoderPack.load`, for the card and the files it names.
        OSError: the pack could not be written, and is what it was.
    """
    directory = Path(directory)
    card = read_pack_card(directory)
    with parts_swapped(directory, (PRIOR,), CARD, None) as written:
        prior.save(written / PRIOR)
        changed = card.model_copy(
            update={
                "format": ADAPTER_FORMAT if card.base_hash else FORMAT,
                "files": part_hashes(directory) | part_hashes(written),
            }
        )
        write_json(written / CARD, with_checksum(changed.model_dump()))


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
