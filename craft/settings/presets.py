"""Named sets of settings; tables of results say which one was used."""

from __future__ import annotations

from typing import Any, get_args

from craft.errors import CraftError
from craft.settings.choices import PresetName
from craft.settings.closest import did_you_mean
from craft.settings.training import CraftConfig

#: Differences from the defaults of :class:`~craft.settings.training.CraftConfig` (methods P).
PRESETS: dict[PresetName, dict[str, Any]] = {
    "craft": {},
    # The paper's text taken literally wherever it can be computed; learning rates and the number of
    # epochs, which it does not give, are inferred in methods B4 and B5.
    "craft_paper": {
        "epochs": 1.0,
        "min_steps": 1000,
        "lr": 1e-5,
        "lr_new": 1e-4,
        "sal_reduction": "sample_sum",
        "lambda_commit": 0.1,
        "commit_levels": "final",
        "lambda_con": "task",
        "con_scale": "literal",
        "cls_attention": "full",
        "blend": False,
    },
}

#: Differences from the defaults in `craft align`; the paper gives one epoch and 1e-4 (methods B9).
ALIGNING: dict[str, Any] = {"epochs": 1.0, "lr": 1e-4, "blend": False}


def preset(name: PresetName, **changes: Any) -> CraftConfig:
    """The settings of a preset, with changes.

    Raises:
        CraftError: there is no such preset.
        pydantic.ValidationError: a setting is invalid.
    """
    if name not in PRESETS:
        meant = did_you_mean(name, PRESETS)
        raise CraftError(
            f"preset must be one of {', '.join(get_args(PresetName))}, got {name!r}{meant}"
        )
    return CraftConfig(**PRESETS[name] | changes)
