"""What trains, and on what: the comparable methods, and the stages of `craft align` (methods M and
B9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from craft.settings.choices import AlignStageName, MethodName


@dataclass(frozen=True)
class Method:
    """A way to adapt models to a domain with `craft adapt`.

    Args:
        trains: a "language_model" trains through adapters, other parts with all their weights.
        quantized: whether the language model reads codes or the encoder's plain features.
        regularized: whether to use CRAFT's commitment and contrastive losses.
        ldifs: whether to use the distance from the pretrained features.
    """

    trains: Literal["encoder", "projector", "language_model"] | None
    quantized: bool
    regularized: bool = False
    ldifs: bool = False


@dataclass(frozen=True)
class AlignStage:
    """A stage of `craft align`, in which the user's own language model learns to read codes.

    Args:
        name: of the stage, of its folder, and of the data it trains on.
        trains: the parts that train, with all their weights.
    """

    name: AlignStageName
    trains: Literal["projector", "projector_and_language_model"]
    quantized: ClassVar[bool] = True
    regularized: ClassVar[bool] = False
    ldifs: ClassVar[bool] = False


#: What a training does.
Recipe = Method | AlignStage

METHODS: dict[MethodName, Method] = {
    "craft": Method("encoder", quantized=True, regularized=True),
    "discrete_ft": Method("encoder", quantized=True),
    "vision_ft": Method("encoder", quantized=False),
    "ldifs": Method("encoder", quantized=False, ldifs=True),
    "projector_ft": Method("projector", quantized=False),
    "llm_lora": Method("language_model", quantized=False),
    "zero_shot": Method(None, quantized=True),
}

ALIGN_STAGES: dict[AlignStageName, AlignStage] = {
    "captions": AlignStage("captions", "projector"),
    "instructions": AlignStage("instructions", "projector_and_language_model"),
}
