"""A demo's ``results.json``, and how scores become it: over seeds, over domains, and as gains."""

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
#: What a gain compares: a condition with the one it should beat or hold.
GAINS: dict[GainName, tuple[Condition, Condition]] = {
    "adapted": ("adapted", "zero_shot"),
    "keep_0.8": ("adapted_keep_0.8", "adapted"),
    "over_random": ("adapted_keep_0.8", "random_keep_0.8"),
}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parts(_Entry):
    """A number for all classes, those trained on, those held out, and the general world; None where
    nothing was asked."""

    all: float | None
    seen: float | None
    heldout: float | None
    general: float | None


class MeanScores(Parts):
    """Per cent right.

    Attributes:
        n: questions behind each of the four, a seed.
        spread: sample standard deviation over seeds, of several.
    """

    n: dict[str, int]
    spread: Parts | None = None


class SeedScores(_Entry):
    """What one seed's encoder scored, as `craft evaluate` has it."""

    seed: int
    conditions: dict[Condition, Scores]


class ModelResults(_Entry):
    """What one language model answered.

    Attributes:
        role: the surrogate took part in the adaptation, the others did not.
        conditions: means over seeds.
        gains: differences of those, in points.
        gains_spread: sample standard deviation of the seeds' gains, averaged over domains.
        seeds: each seed's own scores, of several.
    """

    role: Literal["surrogate", "transfer"]
    conditions: dict[Condition, MeanScores]
    gains: dict[GainName, Parts]
    gains_spread: dict[GainName, Parts] | None = None
    seeds: list[SeedScores] = []


class Adaptation(_Entry):
    """How one encoder came about, see :class:`~craft.training.result.AdaptationResult`."""

    seed: int
    encoder_hash: str
    blend: float
    history: list[dict[str, float]]
    gradient_norms: dict[str, float]
    frozen_hashes: dict[str, str]


class DomainResults(_Entry):
    """Of one domain.

    Attributes:
        models: language model -> what it answered.
        classes: how many there are, those held out included.
        seconds: what each phase took.
    """

    models: dict[str, ModelResults]
    classes: int
    heldout_classes: list[str]
    adaptations: list[Adaptation]
    seconds: dict[str, float]


class DemoSettings(_Entry):
    """What ``craft demo`` was asked to do, and how it measures."""

    surrogate: str
    test_limit: int | None
    general_images: int
    config: dict[str, Any]
    metric: str = "strict exact match of the generated letter"
    options: str = "random distractors"
    random_pruning: str = "one fixed draw a seed"


class DemoResults(ResultsFile):
    """Of ``craft demo``.

    Attributes:
        average: language model -> over domains, each counting the same.
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


#: Condition -> its scores, of one seed.
Table = Mapping[Condition, dict[str, Any]]


def gains(conditions: Mapping[Condition, dict[str, Any]]) -> dict[GainName, Parts]:
    """Differences in points, part by part."""
    return {
        name: Parts(**difference(conditions[after], conditions[before]))
        for name, (after, before) in GAINS.items()
    }


def over_seeds(
    role: Literal["surrogate", "transfer"], seeds: Sequence[int], tables: Sequence[Table]
) -> ModelResults:
    """One language model on one domain: means over the seeds and, of several, each seed's own
    scores and their sample standard deviation."""
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
    """One language model, domains counting the same; the spread is that of the seeds' averages."""
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
