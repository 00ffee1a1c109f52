"""The methods that can be compared: what each trains, and on what (methods M)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from craft.settings.choices import MethodName

Part = Literal["encoder", "projector", "language_model", "reader"]


@dataclass(frozen=True)
class Method:
    """What a method trains.

    Attributes:
        trains: "reader" means projector and language model with all their weights; a
            "language_model" is trained by adapters, without the projector; None trains nothing.
        quantized: the language model reads codes, otherwise the encoder's plain features.
        regularized: CRAFT's commitment and contrastive losses are added.
        ldifs: the distance to the pretrained features is added.
    """

    trains: Part | None
    quantized: bool
    regularized: bool = False
    ldifs: bool = False


METHODS: dict[MethodName, Method] = {
    "craft": Method("encoder", quantized=True, regularized=True),
    "discrete_ft": Method("encoder", quantized=True),
    "vision_ft": Method("encoder", quantized=False),
    "ldifs": Method("encoder", quantized=False, ldifs=True),
    "projector_ft": Method("projector", quantized=False),
    "llm_lora": Method("language_model", quantized=False),
    "align_projector": Method("projector", quantized=True),
    "align": Method("reader", quantized=True),
    "zero_shot": Method(None, quantized=True),
}
