"""A demo's results from its scores: averaged over seeds and domains, and as gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from craft.evaluation.aggregate import PARTS, difference, mean_scores, spread_of
from craft.settings.choices import Selector

#: Condition of the adapted encoder -> keep ratio and selector.
ADAPTED: dict[str, tuple[float, Selector]] = {
    "adapted": (1.0, "full"),
    "adapted_keep_0.8": (0.8, "full"),
    "random_keep_0.8": (0.8, "random"),
}
CONDITIONS = ("zero_shot", *ADAPTED)
#: What a gain compares: a condition with the one that it should exceed or match.
GAINS = {
    "adapted": ("adapted", "zero_shot"),
    "keep_0.8": ("adapted_keep_0.8", "adapted"),
    "over_random": ("adapted_keep_0.8", "random_keep_0.8"),
}

#: Condition -> ``all``, ``seen``, ``heldout``, ``general`` in per cent, and ``n``.
Conditions = dict[str, dict[str, Any]]


def gains(conditions: Conditions) -> dict[str, dict[str, float | None]]:
    """Differences in points, part by part."""
    return {
        name: difference(conditions[after], conditions[before])
        for name, (after, before) in GAINS.items()
    }


def over_seeds(seeds: Sequence[int], tables: Sequence[Conditions]) -> dict[str, Any]:
    """One language model on one domain: means over the seeds and, if there are several, each seed's
    scores and their sample standard deviation."""
    means: dict[str, Any] = {
        c: {**mean_scores([t[c] for t in tables]), "n": tables[0][c]["n"]} for c in CONDITIONS
    }
    means["gains"] = gains(means)
    if len(seeds) > 1:
        means["seeds"] = [{"seed": s, **t} for s, t in zip(seeds, tables, strict=True)]
        means["spread"] = {c: spread_of([t[c] for t in tables]) for c in CONDITIONS}
    return means


def over_domains(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One language model, averaged over domains; the spread is that of the seeds' averages."""
    means: dict[str, Any] = {"role": entries[0]["role"]}
    for c in CONDITIONS:
        counts = {part: sum(e[c]["n"][part] for e in entries) for part in PARTS}
        means[c] = {**mean_scores([e[c] for e in entries]), "n": counts}
    means["gains"] = gains(means)
    if "seeds" in entries[0]:
        averages = [
            {c: mean_scores([seed[c] for seed in of_domains]) for c in CONDITIONS}
            for of_domains in zip(*(e["seeds"] for e in entries), strict=True)
        ]
        means["spread"] = {c: spread_of([a[c] for a in averages]) for c in CONDITIONS}
        means["gains_spread"] = {
            name: spread_of([gains(a)[name] for a in averages]) for name in GAINS
        }
    return means
