"""Which settings have no effect given the others, so that nobody tunes one in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig

#: Says why a setting has no effect, as the end of a sentence; None if it has one.
_Rule = Callable[[CraftConfig], str | None]


def why_idle(name: str, config: CraftConfig) -> str | None:
    """Why the setting with this dotted name has no effect on a run; None if it has one.

    What depends on the data or the machine is not judged here.
    """
    if config.method == "zero_shot" and name not in _ZERO_SHOT:
        return "method=zero_shot trains nothing"
    section = name.partition(".")[0]
    for rule in (*_RULES.get(section, ()), *(_RULES.get(name, ()) if "." in name else ())):
        reason = rule(config)
        if reason is not None:
            return reason
    return None


#: What a run that trains nothing still uses.
_ZERO_SHOT = {
    "method",
    "validation_images",
    "seed",
    "hardware.precision",
    "hardware.attention",
    "log.trackers",
    "log.project",
    "codebook.fraction",
    "codebook.subset",
    "codebook.seed",
}


def _encoder_trains(config: CraftConfig) -> str | None:
    if METHODS[config.method].trains == "encoder":
        return None
    return f"method={config.method} leaves the encoder as it is"


def _regularized(config: CraftConfig) -> str | None:
    if METHODS[config.method].regularized:
        return None
    return f"method={config.method} uses the answer loss without CRAFT's other two"


def _quantized(config: CraftConfig) -> str | None:
    if METHODS[config.method].quantized:
        return None
    return f"method={config.method} reads plain features instead of codes"


def _contrasts(config: CraftConfig) -> str | None:
    return "lambda_con=0 leaves the contrastive loss out" if config.lambda_con == 0 else None


def _only(condition: Callable[[CraftConfig], bool], otherwise: str) -> _Rule:
    return lambda config: None if condition(config) else otherwise


def _pretrained_rate(config: CraftConfig) -> str | None:
    """Adapters use lr_new; everything else that trains uses lr."""
    if config.method == "llm_lora":
        return "method=llm_lora trains adapters alone, whose rate is lr_new"
    if METHODS[config.method].trains == "encoder" and config.encoder in _ADAPTERS:
        return f"encoder={config.encoder} trains adapters alone, whose rate is lr_new"
    return None


def _new_rate(config: CraftConfig) -> str | None:
    method = METHODS[config.method]
    adapters = config.method == "llm_lora" or (
        method.trains == "encoder" and config.encoder in _ADAPTERS
    )
    added = method.regularized and (config.lambda_con != 0 or config.cls_attention == "full")
    if adapters or added:
        return None
    return "nothing new trains: no class token, no temperature, no adapters"


def _lora(config: CraftConfig) -> str | None:
    encoder = config.encoder == "lora" and _encoder_trains(config) is None
    if encoder or config.method == "llm_lora":
        return None
    return "only encoder=lora and method=llm_lora have such adapters"


def _heba(config: CraftConfig) -> str | None:
    if config.adapters is not None:
        return _encoder_trains(config)
    return "only encoder=heba and encoder=heba_discrete have such adapters"


def _heba_value(key: str, idle: Any) -> Callable[[CraftConfig], bool]:
    return lambda config: config.adapters is None or getattr(config.adapters, key) != idle


_ADAPTERS = ("lora", "heba", "heba_discrete")
_RULES: dict[str, tuple[_Rule, ...]] = {
    "encoder": (_encoder_trains,),
    "steps": (_only(lambda c: c.epochs is None, "epochs decides how long training takes"),),
    "min_steps": (_only(lambda c: c.epochs is not None, "it counts only where epochs decides"),),
    "lr": (_pretrained_rate,),
    "lr_new": (_new_rate,),
    "sal_reduction": (_only(lambda c: c.lambda_sal > 0, "lambda_sal=0 leaves that loss out"),),
    "lambda_commit": (_regularized,),
    "commit_levels": (
        _regularized,
        _only(lambda c: c.lambda_commit > 0, "lambda_commit=0 leaves that loss out"),
    ),
    "lambda_con": (_regularized,),
    "con_scale": (_regularized, _contrasts),
    "negatives": (_regularized, _contrasts),
    "cls_attention": (_regularized,),
    "select": (_encoder_trains,),
    "blend": (_encoder_trains,),
    "forget_at_most": (
        _encoder_trains,
        _only(lambda c: c.blend, "blend=false returns the adapted weights, however much they lose"),
    ),
    "checkpoint.keep": (
        _only(lambda c: c.checkpoint.every > 0, "checkpoint.every=0 writes no checkpoints"),
    ),
    "log.project": (
        _only(
            lambda c: bool({"trackio", "wandb"} & set(c.log.trackers)),
            "only the trackers trackio and wandb have projects",
        ),
    ),
    "lora": (_lora,),
    "heba": (_heba,),
    "heba.fast_mult": (_only(_heba_value("fast_prob", 0), "heba.fast_prob is 0"),),
    "heba.grad_unscale": (_only(_heba_value("scale", 1), "heba.scale is 1"),),
    "ldifs": (_only(lambda c: METHODS[c.method].ldifs, "only method=ldifs has that loss"),),
    "ldifs.norm": (_only(lambda c: c.ldifs.weight > 0, "ldifs.weight=0 leaves that loss out"),),
    "ldifs.points": (_only(lambda c: c.ldifs.weight > 0, "ldifs.weight=0 leaves that loss out"),),
    "codebook": (_quantized,),
    "codebook.subset": (_only(lambda c: c.codebook.fraction < 1, "codebook.fraction is 1"),),
    "codebook.seed": (
        _only(lambda c: c.codebook.fraction < 1, "codebook.fraction is 1"),
        _only(lambda c: c.codebook.subset == "random", "only codebook.subset=random draws"),
    ),
}
