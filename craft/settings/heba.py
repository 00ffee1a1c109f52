"""Settings of HeBA adapters, with all defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from craft.errors import CraftError

Site = Literal["attn_in", "ffn_hidden"]


PresetName = Literal["heba", "heba_discrete"]


@dataclass(frozen=True)
class HebaConfig:
    """One kind of adapter; the defaults are ours, for a quantised encoder.

    Args:
        sites: what is adapted in every block: the input of attention, or the input of the
            feed-forward layer's activation.
        bottleneck: width between ``down`` and ``up``, or a quarter of the width at the site.
        post_norm: g(x) = LN(x + f(x)) instead of f(x).
        init_up: ``zero`` leaves the encoder's output unchanged; ``kaiming_fan_out`` is
            N(0, 2 / width).
        scale: s.
        fast_prob, fast_mult: in training s is ``fast_mult`` times as large with this probability,
            drawn once per block and forward pass.
        grad_unscale: multiply the gradients of the adapter's weights, but not of its input, by 1/s.
        kernel: side of the depthwise convolution, odd.
        gate: multiply g by a learned number that starts at 0.

    Raises:
        CraftError: a value is out of range, or two contradict each other.
    """

    sites: tuple[Site, ...] = ("attn_in",)
    bottleneck: int | Literal["quarter"] = 64
    post_norm: bool = False
    init_up: Literal["zero", "kaiming_fan_out"] = "zero"
    scale: float = 1.0
    fast_prob: float = 0.0
    fast_mult: float = 1.0
    grad_unscale: bool = False
    kernel: int = 3
    gate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))  # JSON has lists
        wrong = [site for site in self.sites if site not in get_args(Site)]
        if wrong or not self.sites or len(set(self.sites)) < len(self.sites):
            raise CraftError(f"sites must be some of {get_args(Site)}, each once, got {self.sites}")
        whole = isinstance(self.bottleneck, int) and not isinstance(self.bottleneck, bool)
        if self.bottleneck != "quarter" and not (whole and self.bottleneck > 0):
            raise CraftError(f"bottleneck must be positive or 'quarter', got {self.bottleneck!r}")
        if self.init_up not in ("zero", "kaiming_fan_out"):
            raise CraftError(f"init_up must be 'zero' or 'kaiming_fan_out', got {self.init_up!r}")
        if self.gate and self.init_up == "zero" and not self.post_norm:
            raise CraftError(
                "gate=true needs init_up='kaiming_fan_out': if both start at 0, neither has a "
                "gradient, and the adapter would never learn"
            )
        for name in ("scale", "fast_mult"):
            if not 0 < getattr(self, name) < math.inf:
                raise CraftError(f"{name} must be a finite number > 0, got {getattr(self, name)}")
        if not 0 <= self.fast_prob <= 1:
            raise CraftError(f"fast_prob must be a finite number in [0, 1], got {self.fast_prob}")
        if self.kernel < 1 or self.kernel % 2 != 1:  # also for NaN and infinity
            raise CraftError(f"kernel must be odd and positive, got {self.kernel}")


#: ``heba`` is the public code's; ``heba_discrete`` starts without any effect on codes.
PRESETS: dict[PresetName, HebaConfig] = {
    "heba": HebaConfig(
        sites=("attn_in", "ffn_hidden"),
        bottleneck="quarter",
        post_norm=True,
        init_up="kaiming_fan_out",
        scale=0.025,
        fast_prob=0.2,
        fast_mult=2.25,
        grad_unscale=True,
    ),
    "heba_discrete": HebaConfig(),
}


def _given(name: str, what: str) -> Any:
    """A setting that overrides the preset's; its description lists the presets' values."""
    values = {preset: getattr(config, name) for preset, config in PRESETS.items()}
    said = {preset: _spelled(value) for preset, value in values.items()}
    one = len(set(said.values())) == 1
    default = next(iter(said.values())) if one else ", ".join(f"{k}: {v}" for k, v in said.items())
    return Field(default=None, description=f"{what}; {default}")


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return " and ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


_Positive = Annotated[float, Field(gt=0)]


class HebaSettings(BaseModel):
    """HeBA adapters (arXiv 2603.16653), for `encoder=heba` and `encoder=heba_discrete`.

    Settings that are not given come from the preset, see :data:`PRESETS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sites: list[Site] | None = _given(
        "sites",
        "what is adapted in each block: the input of attention, the hidden layer of the MLP",
    )
    bottleneck: Annotated[int, Field(ge=1)] | Literal["quarter"] | None = _given(
        "bottleneck", "width inside the adapter"
    )
    post_norm: bool | None = _given(
        "post_norm", "add an inner residual connection and a layer norm"
    )
    init_up: Literal["zero", "kaiming_fan_out"] | None = _given(
        "init_up", "how the last layer is initialised; zero leaves all codes unchanged"
    )
    scale: _Positive | None = _given("scale", "factor of the adapter's contribution")
    fast_prob: Annotated[float, Field(ge=0, le=1)] | None = _given(
        "fast_prob", "probability in training that a block uses the larger scale"
    )
    fast_mult: _Positive | None = _given("fast_mult", "ratio of the larger scale to the usual one")
    grad_unscale: bool | None = _given(
        "grad_unscale", "divide gradients of the adapters' weights by the scale"
    )
    kernel: Annotated[int, Field(ge=1)] | None = _given(
        "kernel", "side of the depthwise convolution"
    )
    gate: bool | None = _given("gate", "a learned factor per adapter, initially 0")

    def over(self, name: PresetName) -> HebaConfig:
        """The preset with these settings. Raises CraftError for invalid values."""
        given = {key: value for key, value in self if value is not None}
        return replace(PRESETS[name], **given)
