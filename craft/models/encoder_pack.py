"""Encoder packs, the product of an adaptation: encoder weights and their codebook's fingerprint.

A pack is a directory with ``pack.json``, ``encoder.safetensors`` and, if a prior was counted,
``prior.safetensors``; it may also contain the ``domain.json`` of a user's data and the
``language_model`` that was trained instead of the encoder. It plugs into every language model
aligned to that codebook and into no other.

A pack of adapters has ``adapters.safetensors`` instead of ``encoder.safetensors``, with only the
weights that were added to an encoder, and the hash of that encoder, which is needed to open it.
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
    """The encoder is not the one that the adapters were trained in."""


@dataclass(frozen=True)
class BaseEncoder:
    """The encoder that adapters were trained in: its hash and the names of its weights."""

    hash: str
    names: frozenset[str]


@dataclass(frozen=True)
class EncoderPack:
    """An adapted encoder that can be moved between machines and language models.

    Args:
        weights: the tower's state, name -> tensor.
        vision_config: the tower's DiscreteVisionConfig as a dict.
        read_layer: block whose output is quantised.
        codebook_fingerprint: of the codebook the weights speak.
        prior: first-level code frequencies of the domain, for pruning.
        notes: how the pack was made (domain, surrogate, settings, held-out classes).
        base: encoder of a pack of adapters; its weights are also in ``weights``, but not in the
            files.
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
        """The weights in the pack's files: all, or those that the base encoder does not have."""
        names = self.base.names if self.base else frozenset()
        return {name: x for name, x in self.weights.items() if name not in names}

    @property
    def method(self) -> MethodName:
        """The method that made the pack."""
        return self.notes.get("config", {}).get("method", "craft")

    @property
    def reads(self) -> Literal["codes", "features"]:
        """What language models read of the encoder, as when the pack was made."""
        return "codes" if METHODS[self.method].quantized else "features"

    @property
    def precision(self) -> Precision:
        """Precision of the matrix products that compute the pack's codes; by default float32.

        It is the one that the codes were validated and counted with.
        """
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
        """Make a pack of a copy of the tower's current weights.

        Args:
            base: for a pack of adapters, the encoder that they were put into: only weights that are
                missing or different in ``base`` are saved.
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
            CodebookMismatchError: the pack speaks another codebook; names both.
            StoredFileError: ``vision_config`` is invalid, or the weights do not fit it.
        """
        codebook.require_fingerprint(self.codebook_fingerprint)
        settings = {k: v for k, v in self.vision_config.items() if k != "model_type"}
        settings["read_layer"] = self.read_layer
        try:
            tower = DiscreteVisionTower(DiscreteVisionConfig(**settings), codebook)
        except CraftError:
            raise
        except Exception as error:  # transformers and torch raise exceptions of any kind
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
        """Write the pack; the directory is created if necessary.

        An existing pack is replaced as a whole once all files of the new one are written. A process
        that is killed leaves the old pack, the new one, or a directory that is refused as a pack.
        Files that do not belong to a pack stay.

        Args:
            others: other parts of the pack, :data:`~craft.models.pack_card.LANGUAGE_MODEL` or the
                domain's manifest: name -> function that writes it to a path.

        Raises:
            OSError: it could not be written; names the path, and the space needed and available.
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
        """Read a pack and check its weights against the hash in its card.

        Args:
            base: returns the pretrained encoder, such as ``ModelFamily.load().pretrained_tower``;
                called only for a pack of adapters, which needs it.

        Raises:
            StoredFileError: a file is missing, truncated, damaged or a Git LFS pointer.
            CraftError: not a pack, a newer format, weights changed since they were saved, or a pack
                of adapters without ``base``.
            EncoderMismatchError: the adapters belong to another encoder than ``base``; names both.
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
    """Put a prior into a saved pack, replacing the one it may have; all else stays.

    Raises:
        CraftError: as for :meth:`EncoderPack.load`, for the card and the files it names.
        OSError: the pack could not be written; it is unchanged.
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
            f"{directory} holds only adapters, of the encoder {wanted}; open it with the model "
            "family it belongs to: ModelFamily.plug"
        )
    weights = base().state_dict()
    found = tensor_hash(weights)
    if found != wanted:
        raise EncoderMismatchError(
            f"{directory} holds adapters of the encoder {wanted}, but this one is {found}; "
            "adapters do nothing useful in another encoder: use the models they were trained with, "
            f"or adapt again{made_with(notes)}"
        )
    return weights


def made_with(notes: dict[str, Any]) -> str:
    """End of an error message that says which models a pack was made with; "" if unknown."""
    if "models" not in notes:
        return ""
    if notes["models"] is None:
        return "; it was made with the models that come with the package: leave --models out"
    return f"; it was made with --models {notes['models']}"
