"""LASER's settings; docs/laser.md gives the origin of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from craft.errors import CraftError

NullPrompt = Literal["instruction_only", "empty", "generic"]
Placement = Literal["sliding", "centroid", "topk_box"]
MaskMode = Literal["pixel_mean", "pixel_zero", "blur", "token_drop"]
Share = Annotated[float, Field(gt=0, le=1)]


class LaserSettings(BaseModel):
    """How evidence is found, cropped, hidden and decoded.

    Raises:
        pydantic.ValidationError: a value is outside its range, or both ``layer_range`` and
            ``fixed_layer`` are given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    null_prompt: NullPrompt = "instruction_only"
    k_head: Annotated[int, Field(ge=1)] | Literal["all"] = 8
    layer_range: tuple[int, int] | None = None
    fixed_layer: int | None = None
    placement: Placement = "sliding"
    min_side: Annotated[int, Field(ge=1)] = 224
    max_frac: Share = 0.5
    crop_mode: Literal["replace", "append"] = "replace"
    k_patch: Share = 0.1
    mask_mode: MaskMode = "pixel_mean"
    alpha: Annotated[float, Field(ge=0)] = 1.0
    plausibility_beta: Share | None = None

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> LaserSettings:
        if self.layer_range is not None and self.fixed_layer is not None:
            raise CraftError("give one of layer_range and fixed_layer, not both")
        if self.layer_range is not None and not 0 <= self.layer_range[0] < self.layer_range[1]:
            raise CraftError(
                f"layer_range must be (first, end) with 0 <= first < end, got {self.layer_range}"
            )
        return self
