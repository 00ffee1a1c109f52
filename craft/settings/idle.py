"""Rules that find settings without effect, so that nobody tunes one in vain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from craft.settings.methods import METHODS, AlignStage, Recipe
from craft.settings.training import CraftConfig


@dataclass(frozen=True)
class _Run:
    """The training that rules look at: its settings and its recipe."""

    config: CraftConfig
    recipe: Recipe

    @property
    def name(self) -> str:
        """The training's name in messages."""
        if isinstance(self.recipe, AlignStage):
            return "`craft align`"
        return f"method={self.config.method}"

    @property
    def trains_lora(self) -> bool:
        """Whether the language model trains through adapters."""
        return self.recipe.trains == "language_model"


#: Gives the reason why a setting has no effect, as the end of a sentence; None if it has one.
_Rule = Callable[[_Run], str | None]


def why_idle(name: str, config: CraftConfig, recipe: Recipe | None = None) -> str | None:
    """Why the setting with this dotted name has no effect on a training; None if it has one.

    Effects that depend on the data or the machine are not considered.

    Args:
        recipe: what the training does; by default that of ``config.method``.
    """
    run = _Run(config, METHODS[config.method] if recipe is None else recipe)
    if run.recipe.trains is None and name not in _ZERO_SHOT:
        return f"{run.name} trains nothing"
    section = name.partition(".")[0]
    for rule in (*_RULES.get(section, ()), *(_RULES.get(name, ()) if "." in name else ())):
        reason = rule(run)
        if reason is not None:
            return reason
    return None


#: Settings that a run without training still uses.
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


def _encoder_trains(run: _Run) -> str | None:
    if run.recipe.trains == "encoder":
        return None
    return f"{run.name} does not train the encoder"


def _regularized(run: _Run) -> str | None:
    if run.recipe.regularized:
        return None
    return f"{run.name} uses the answer loss without CRAFT's other two losses"


def _quantized(run: _Run) -> str | None:
    if run.recipe.quantized:
        return None
    return f"{run.name} reads plain features instead of codes"


def _contrasts(run: _Run) -> str | None:
    return "lambda_con=0 leaves the contrastive loss out" if run.config.lambda_con == 0 else None


def _only(condition: Callable[[CraftConfig], bool], otherwise: str) -> _Rule:
    return lambda run: None if condition(run.config) else otherwise


def _pretrained_rate(run: _Run) -> str | None:
    """Adapters have lr_new; everything else that trains has lr."""
    if run.trains_lora:
        return f"{run.name} trains only adapters, whose rate is lr_new"
    if run.recipe.trains == "encoder" and run.config.encoder in _ADAPTERS:
        return f"encoder={run.config.encoder} trains only adapters, whose rate is lr_new"
    return None


def _new_rate(run: _Run) -> str | None:
    adapters = run.trains_lora or (
        run.recipe.trains == "encoder" and run.config.encoder in _ADAPTERS
    )
    contrasts = run.config.lambda_con != 0 or run.config.cls_attention == "full"
    added = run.recipe.regularized and contrasts
    if adapters or added:
        return None
    return "no new weights train: no class token, no temperature, no adapters"


def _lora(run: _Run) -> str | None:
    encoder = run.config.encoder == "lora" and _encoder_trains(run) is None
    if encoder or run.trains_lora:
        return None
    return "only encoder=lora and method=llm_lora have such adapters"


def _heba(run: _Run) -> str | None:
    if run.config.adapters is not None:
        return _encoder_trains(run)
    return "only encoder=heba and encoder=heba_discrete have such adapters"


def _ldifs(run: _Run) -> str | None:
    return None if run.recipe.ldifs else "only method=ldifs has that loss"


def _heba_value(key: str, idle: Any) -> Callable[[CraftConfig], bool]:
    return lambda config: config.adapters is None or getattr(config.adapters, key) != idle


_ADAPTERS = ("lora", "heba", "heba_discrete")
_RULES: dict[str, tuple[_Rule, ...]] = {
    "encoder": (_encoder_trains,),
    "steps": (_only(lambda c: c.epochs is None, "epochs decides how long training takes"),),
    "min_steps": (_only(lambda c: c.epochs is not None, "it counts only if epochs decides"),),
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
    "ldifs": (_ldifs,),
    "ldifs.norm": (_only(lambda c: c.ldifs.weight > 0, "ldifs.weight=0 leaves that loss out"),),
    "ldifs.points": (_only(lambda c: c.ldifs.weight > 0, "ldifs.weight=0 leaves that loss out"),),
    "codebook": (_quantized,),
    "codebook.subset": (_only(lambda c: c.codebook.fraction < 1, "codebook.fraction is 1"),),
    "codebook.seed": (
        _only(lambda c: c.codebook.fraction < 1, "codebook.fraction is 1"),
        _only(lambda c: c.codebook.subset == "random", "only codebook.subset=random draws"),
    ),
}
