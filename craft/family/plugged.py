"""An encoder that was joined to a model family."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.encoder_pack import EncoderPack
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior


@dataclass(frozen=True)
class PluggedEncoder:
    """An encoder that speaks the family's codebook.

    :meth:`~craft.family.family.ModelFamily.plug` makes it.

    Args:
        tower: frozen and in eval mode.
        prior: first-level code frequencies to prune by, if they were counted.
        pack: the pack it comes from; None for the pretrained encoder.
        own: directory of the language model that was trained with the pack, if there is one.
    """

    tower: DiscreteVisionTower
    prior: TokenPrior | None = None
    pack: EncoderPack | None = None
    own: Path | None = None

    @property
    def reads(self) -> Literal["codes", "features"]:
        """What language models read of this encoder."""
        return "codes" if self.pack is None else self.pack.reads

    @cached_property
    def own_language_model(self) -> AlignedLanguageModel | None:
        """The language model that was trained with the pack, if any; only that one reads it."""
        if self.own is None:
            return None
        return AlignedLanguageModel.from_pretrained(self.own).to(self.tower.device)

    def require_codes(self, what: str) -> None:
        """Raises CraftError unless any language model can read this encoder's codes."""
        if self.reads != "codes" or self.own is not None:
            method = self.pack.method if self.pack is not None else ""
            raise CraftError(
                f"{what} needs a pack whose codes any language model reads; this one was made by "
                f"method {method!r}, whose language model reads plain features: examine it with "
                "`craft evaluate`"
            )
