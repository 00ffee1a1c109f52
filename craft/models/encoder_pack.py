"""The product of an adaptation: encoder weights and the fingerprint of the codebook they speak.

A pack is a directory: ``pack.json``, ``encoder.safetensors`` and, when one was counted,
``prior.safetensors``. It plugs into every language model aligned to that codebook, into no other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from craft.codebook import Codebook
from craft.models.configuration import DiscreteVisionConfig
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.tensor_hash import tensor_hash

FORMAT = 1
_CARD, _WEIGHTS, _PRIOR = "pack.json", "encoder.safetensors", "prior.safetensors"


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
    """

    weights: dict[str, Tensor]
    vision_config: dict[str, Any]
    read_layer: int
    codebook_fingerprint: str
    prior: TokenPrior | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder_hash(self) -> str:
        return tensor_hash(self.weights)

    @classmethod
    def of(
        cls, tower: DiscreteVisionTower, prior: TokenPrior | None = None, **notes: Any
    ) -> EncoderPack:
        """Take the tower's present weights; they are copied."""
        return cls(
            {name: x.detach().clone() for name, x in tower.state_dict().items()},
            tower.config.to_diff_dict(),
            tower.read_layer,
            tower.codebook.fingerprint,
            prior,
            notes,
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
        tower.load_state_dict(self.weights)
        return tower.eval().requires_grad_(False)

    def save(self, directory: Path | str) -> Path:
        """Write the pack; the directory is made if need be."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, directory / _WEIGHTS)
        if self.prior is not None:
            self.prior.save(directory / _PRIOR)
        card = {
            "format": FORMAT,
            "codebook_fingerprint": self.codebook_fingerprint,
            "encoder_hash": self.encoder_hash,
            "vision_config": self.vision_config,
            "read_layer": self.read_layer,
            "notes": self.notes,
        }
        (directory / _CARD).write_text(json.dumps(card, indent=2) + "\n")
        return directory

    @classmethod
    def load(cls, directory: Path | str) -> EncoderPack:
        """Read a pack and check that its weights are the ones its card was written for.

        Raises:
            ValueError: not a pack, a newer format, or weights that were changed since.
        """
        directory = Path(directory)
        if not (directory / _CARD).is_file():
            raise ValueError(f"{directory} is not an encoder pack: it holds no {_CARD}")
        card = json.loads((directory / _CARD).read_text())
        if card.get("format") != FORMAT:
            raise ValueError(
                f"{directory / _CARD} has format {card.get('format')!r}, this version reads "
                f"{FORMAT}; update craft-vlm"
            )
        weights = load_file(directory / _WEIGHTS)
        found = tensor_hash(weights)
        if found != card["encoder_hash"]:
            raise ValueError(
                f"{directory / _WEIGHTS} hashes to {found}, its card says "
                f"{card['encoder_hash']}: the weights were changed after the pack was saved"
            )
        prior = TokenPrior.load(directory / _PRIOR) if (directory / _PRIOR).is_file() else None
        return cls(
            weights,
            card["vision_config"],
            card["read_layer"],
            card["codebook_fingerprint"],
            prior,
            card["notes"],
        )
