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

    null_prompt: NullPrompt = Field(
        default="instruction_only",
        description="prompt without the query: only the instruction, nothing, or a generic request",
    )
    k_head: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=8,
        description="heads with the strongest contrast that choose the layer and make the map",
    )
    layer_range: tuple[int, int] | None = Field(
        default=None,
        description="first candidate layer and the one after the last; all layers by default",
    )
    fixed_layer: int | None = Field(
        default=None, description="use this layer instead of choosing one for each question"
    )
    placement: Placement = Field(
        default="sliding",
        description="place of the crop: the window with most evidence, around the centroid of the "
        "evidence, or around its strongest patches",
    )
    min_side: Annotated[int, Field(ge=1)] = Field(
        default=224, description="smallest side of the crop, in pixels of the image"
    )
    max_frac: Share = Field(
        default=0.5, description="side of the crop, as a share of the side of the image"
    )
    crop_mode: Literal["replace", "append"] = Field(
        default="replace", description="show the crop instead of the image, or after it"
    )
    k_patch: Share = Field(
        default=0.1,
        description="share of the patches, those with most evidence, that the second stream hides",
    )
    mask_mode: MaskMode = Field(
        default="pixel_mean",
        description="how they are hidden: mean colour, black, blur, or without their tokens",
    )
    alpha: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="weight of the contrast z+ - z- in the next token"
    )
    plausibility_beta: Share | None = Field(
        default=None,
        description="exclude tokens below this share of the likeliest one's probability",
    )

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> LaserSettings:
        if self.layer_range is not None and self.fixed_layer is not None:
            raise CraftError("give one of layer_range and fixed_layer, not both")
        if self.layer_range is not None and not 0 <= self.layer_range[0] < self.layer_range[1]:
            raise CraftError(
                f"layer_range must be (first, end) with 0 <= first < end, got {self.layer_range}"
            )
        return self
