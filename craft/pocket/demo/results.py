"""The demo's ``results.json``: scores averaged over seeds and domains, and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from craft.evaluation.aggregate import PARTS, difference, mean_scores, spread_of
from craft.evaluation.results import ResultsFile, Scores
from craft.settings.choices import Selector

Condition = Literal["zero_shot", "adapted", "adapted_keep_0.8", "random_keep_0.8"]
GainName = Literal["adapted", "keep_0.8", "over_random"]

#: Condition of the adapted encoder -> keep ratio and selector.
ADAPTED: dict[Condition, tuple[float, Selector]] = {
    "adapted": (1.0, "full"),
    "adapted_keep_0.8": (0.8, "full"),
    "random_keep_0.8": (0.8, "random"),
}
CONDITIONS: tuple[Condition, ...] = ("zero_shot", *ADAPTED)
#: Gain -> the condition, and the one it is compared with.
GAINS: dict[GainName, tuple[Condition, Condition]] = {
    "adapted": ("adapted", "zero_shot"),
    "keep_0.8": ("adapted_keep_0.8", "adapted"),
    "over_random": ("adapted_keep_0.8", "random_keep_0.8"),
}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parts(_Entry):
    """A number for all classes, seen and held-out ones, and the general world; None if unasked."""

    all: float | None
    seen: float | None
    heldout: float | None
    general: float | None


class MeanScores(Parts):
    """Accuracies in per cent.

    Attributes:
        n: number of questions behind each of the four, per seed.
        spread: sample standard deviation over seeds; None for a single seed.
    """

    n: dict[str, int]
    spread: Parts | None = None


class SeedScores(_Entry):
    """Scores of one seed's encoder, as in `craft evaluate`."""

    seed: int
    conditions: dict[Condition, Scores]


class ModelResults(_Entry):
    """Results of one language model.

    Attributes:
        role: "surrogate" if the model took part in the adaptation, else "transfer".
        conditions: means over seeds.
        gains: differences of conditions, in points.
        gains_spread: sample standard deviation of the seeds' gains, averaged over domains.
        seeds: each seed's scores; empty for a single seed.
    """

    role: Literal["surrogate", "transfer"]
    conditions: dict[Condition, MeanScores]
    gains: dict[GainName, Parts]
    gains_spread: dict[GainName, Parts] | None = None
    seeds: list[SeedScores] = []


class Adaptation(_Entry):
    """How one encoder was adapted, see :class:`~craft.training.result.AdaptationResult`."""

    seed: int
    encoder_hash: str
    blend: float
    history: list[dict[str, float]]
    gradient_norms: dict[str, float]
    frozen_hashes: dict[str, str]


class DomainResults(_Entry):
    """Results of one domain.

    Attributes:
        models: language model -> its results.
        classes: number of classes, including held-out ones.
        seconds: duration of each phase.
    """

    models: dict[str, ModelResults]
    classes: int
    heldout_classes: list[str]
    adaptations: list[Adaptation]
    seconds: dict[str, float]


class DemoSettings(_Entry):
    """Settings of ``craft demo``, and how it measures."""

    surrogate: str
    test_limit: int | None
    general_images: int
    config: dict[str, Any]
    metric: str = "strict exact match of the generated letter"
    options: str = "random distractors"
    random_pruning: str = "one fixed draw per seed"


class DemoResults(ResultsFile):
    """Results of ``craft demo``.

    Attributes:
        average: language model -> its average over domains, equally weighted.
        seconds: of the whole run.
    """

    COMMAND = "demo"

    domains: dict[str, DomainResults]
    average: dict[str, ModelResults]
    seeds: list[int]
    settings: DemoSettings
    codebook_fingerprint: str
    base_encoder_hash: str
    seconds: float


#: Condition -> its scores, for one seed.
Table = Mapping[Condition, dict[str, Any]]


def gains(conditions: Mapping[Condition, dict[str, Any]]) -> dict[GainName, Parts]:
    """Gains in points, for each part."""
    return {
        name: Parts(**difference(conditions[after], conditions[before]))
        for name, (after, before) in GAINS.items()
    }


def over_seeds(
    role: Literal["surrogate", "transfer"], seeds: Sequence[int], tables: Sequence[Table]
) -> ModelResults:
    """Results of one language model on one domain: means over the seeds.

    With several seeds, each seed's scores and their sample standard deviation are added.
    """
    several = len(seeds) > 1
    means: dict[Condition, dict[str, Any]] = {
        c: mean_scores([t[c] for t in tables]) for c in CONDITIONS
    }
    return ModelResults(
        role=role,
        conditions={
            c: MeanScores(
                **means[c],
                n=tables[0][c]["n"],
                spread=Parts(**spread_of([t[c] for t in tables])) if several else None,
            )
            for c in CONDITIONS
        },
        gains=gains(means),
        seeds=[
            SeedScores(seed=seed, conditions={c: Scores(**table[c]) for c in CONDITIONS})
            for seed, table in zip(seeds, tables, strict=True)
        ]
        if several
        else [],
    )


def over_domains(entries: Sequence[ModelResults]) -> ModelResults:
    """Average one language model's results over domains; the spread is that of seeds' averages."""
    found = {c: [e.conditions[c].model_dump() for e in entries] for c in CONDITIONS}
    means: dict[Condition, dict[str, Any]] = {c: mean_scores(found[c]) for c in CONDITIONS}
    averages: list[dict[Condition, dict[str, Any]]] = [
        {c: mean_scores([s.conditions[c].model_dump() for s in one]) for c in CONDITIONS}
        for one in zip(*(entry.seeds for entry in entries), strict=True)
    ]
    by_seed = [gains(average) for average in averages]
    return ModelResults(
        role=entries[0].role,
        conditions={
            c: MeanScores(
                **means[c],
                n={part: sum(scores["n"][part] for scores in found[c]) for part in PARTS},
                spread=Parts(**spread_of([a[c] for a in averages])) if averages else None,
            )
            for c in CONDITIONS
        },
        gains=gains(means),
        gains_spread={
            name: Parts(**spread_of([g[name].model_dump() for g in by_seed])) for name in GAINS
        }
        if averages
        else None,
    )
