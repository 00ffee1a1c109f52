"""Settings of exams: `craft evaluate` and `craft transfer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from craft.errors import CraftError
from craft.settings.choices import Selector
from craft.settings.closest import did_you_mean


class _Exam(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    test_limit: int | None = Field(
        default=None, ge=1, description="number of random test questions to use instead of all"
    )
    general_images: int = Field(
        default=900, ge=1, description="most questions used to measure forgetting"
    )


class ExamSettings(_Exam):
    """How a pack is examined."""

    keep_ratios: list[float] = Field(
        default=[1.0], min_length=1, description="shares of the visual tokens to keep"
    )
    selector: Selector = Field(default="full", description="how tokens are chosen")
    pretrained: bool = Field(
        default=True, description="also examine the pretrained encoder, to report the gain"
    )
    likelihood: bool = Field(default=False, description="also score the most likely option letter")
    justify: bool = Field(
        default=False, description="also ask for justifications, which rules mark"
    )
    seed: int = Field(default=0, description="of the random selectors")

    @field_validator("keep_ratios")
    @classmethod
    def _shares(cls, ratios: list[float]) -> list[float]:
        for ratio in ratios:
            require_share(ratio)
        return ratios

    @model_validator(mode="after")
    def _has_effect(self) -> ExamSettings:
        require_effect_of_pruning(self.keep_ratios, self.selector, self.seed)
        return self

    @property
    def prunes(self) -> bool:
        """Whether any tokens are pruned."""
        return min(self.keep_ratios) < 1


class TransferSettings(_Exam):
    """How packs are compared."""

    keep_ratio: float = Field(default=1.0, description="share of the visual tokens to keep")

    @field_validator("keep_ratio")
    @classmethod
    def _share(cls, ratio: float) -> float:
        return require_share(ratio)


_Settings = TypeVar("_Settings", ExamSettings, TransferSettings)


def exam_settings(kind: type[_Settings], given: _Settings | Mapping[str, Any] | None) -> _Settings:
    """Return settings unchanged, or make them from a mapping of names to values.

    Raises:
        CraftError: a setting is unknown or its value is invalid; the message names each.
    """
    if isinstance(given, kind):
        return given
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        raise CraftError("; ".join(_said(kind, problem) for problem in error.errors())) from error


def _said(kind: type[BaseModel], problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        meant = did_you_mean(place, kind.model_fields)
        return f"no such setting {place!r}{meant}; there are {', '.join(kind.model_fields)}"
    said = problem["msg"].removeprefix("Value error, ")
    return said if problem["type"] == "value_error" else f"{place}: {said}"


def require_share(ratio: float) -> float:
    """Raise CraftError unless ``ratio`` is a valid share of tokens to keep."""
    if not 0 < ratio <= 1:
        raise CraftError(f"keep_ratio must be in (0, 1], got {ratio}")
    return ratio


def require_effect_of_pruning(ratios: list[float], selector: Selector, seed: int = 0) -> None:
    """Raise CraftError if a choice about pruning would have no effect."""
    if min(ratios) == 1 and selector != "full":
        raise CraftError(
            f"selector {selector} has no effect while all tokens are kept; add a keep ratio below "
            "1, or leave the selector out"
        )
    if seed and "random" not in selector:
        raise CraftError(
            f"seed {seed} has no effect: selector {selector} is not random; choose a random one, "
            "or leave the seed out"
        )
