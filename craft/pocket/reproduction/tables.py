"""The paper's tables and figures with the pocket world's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from craft.pocket.reproduction import paper
from craft.pocket.reproduction.claims import judge_claims
from craft.pocket.reproduction.examination import CONTINUOUS, FOREIGN, RULES
from craft.pocket.reproduction.outcomes import Outcomes, Row, measure, pruned
from craft.pocket.reproduction.plan import (
    CODEBOOKS,
    COMPARED_RATIOS,
    CONTINUOUS_METHODS,
    KEEP_RATIOS,
    LOSSES,
    MAIN,
    PRETRAINED,
    SURROGATES,
)
from craft.runtime.versions import environment

ZERO_SHOT = Row(PRETRAINED)
ZERO_SHOT_CONTINUOUS = Row(PRETRAINED, condition=CONTINUOUS)
CRAFT = Row("craft")
SELECTORS = ("random", "quota_random", "quota_residual", "full", FOREIGN)


def reproduce_tables(
    outcomes: Outcomes, costs: dict[str, dict[str, float]] | None
) -> dict[str, Any]:
    """All tables and the verdict on each claim, as JSON, from which the page is made."""
    scale = outcomes.scale
    return {
        "scale": {
            "name": scale.name,
            "domains": list(scale.domains),
            "ablated": list(scale.ablated),
            "seeds": scale.seeds,
            "steps": scale.steps,
            "questions": {d: outcomes.rights(ZERO_SHOT, d).shape[1] for d in scale.domains},
        },
        "claims": judge_claims(outcomes, costs),
        "methods": methods(outcomes),
        "instructions": instructions(outcomes),
        "transfer": transfer(outcomes),
        "costs": costs,
        "losses": ablation(outcomes, LOSSES),
        "codebooks": ablation(outcomes, CODEBOOKS),
        "keep_ratios": keep_ratios(outcomes),
        "selectors": selectors(outcomes),
        "versions": environment(),
    }


def methods(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Table 1: every method, read by the main model, with its gain over its own start."""
    rows: list[tuple[str, Row, Row | None]] = [
        ("zero-shot, continuous", ZERO_SHOT_CONTINUOUS, None),
        *((name, Row(name), ZERO_SHOT_CONTINUOUS) for name in CONTINUOUS_METHODS),
        ("zero-shot, codes", ZERO_SHOT, None),
        ("discrete_ft", Row("discrete_ft"), ZERO_SHOT),
        *((f"craft through {s}", Row("craft", s), ZERO_SHOT) for s in SURROGATES),
    ]
    return [
        _accuracies(outcomes, title, row, before, outcomes.scale.domains)
        | {"paper": paper.METHODS.get("craft" if row == CRAFT else title)}
        for title, row, before in rows
    ]


def _accuracies(
    outcomes: Outcomes, title: str, row: Row, before: Row | None, domains: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "title": title,
        "domains": {d: outcomes.score(row, (d,)) for d in domains},
        "all": outcomes.score(row, domains),
        "heldout": outcomes.score(row, domains, "heldout"),
        "general": outcomes.score(row, domains, "general"),
        "gain": None if before is None else outcomes.points(row, before, domains),
    }


def instructions(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Table 2, marked by rules: does the model still justify its answers when asked to?"""
    titles = {PRETRAINED: "zero-shot, codes"} | {m: m for m in ("craft", *CONTINUOUS_METHODS)}
    return [
        {"title": title}
        | {
            rule: measure([outcomes.passed(name, d, rule) for d in outcomes.scale.domains])
            for rule in RULES
        }
        for name, title in titles.items()
    ]


def transfer(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Tables 3 and 7: accuracy of each encoder with each model.

    Unlike the paper's, they include encoders tuned without CRAFT's losses or without codes.
    """
    rows = [
        ("zero-shot, codes", Row(PRETRAINED), None),
        *((f"craft through {s}", Row("craft", s), s) for s in SURROGATES),
        ("discrete_ft through " + MAIN, Row("discrete_ft"), MAIN),
        ("zero-shot, continuous", Row(PRETRAINED, condition=CONTINUOUS), None),
        *((f"{name} through {MAIN}", Row(name), MAIN) for name in ("vision_ft", "ldifs")),
    ]
    start, table = rows[0][1], []
    for title, row, surrogate in rows:
        if surrogate is None:
            start = row
        cells = {}
        for language_model in SURROGATES:
            read, before = (
                replace(row, language_model=language_model),
                replace(start, language_model=language_model),
            )
            domains = outcomes.scale.domains
            gain = None if surrogate is None else outcomes.points(read, before, domains)
            cells[language_model] = {"all": outcomes.score(read, domains), "gain": gain}
        table.append({"title": title, "surrogate": surrogate, "language_models": cells})
    return table


def ablation(outcomes: Outcomes, variants: Iterable[str]) -> list[dict[str, Any]]:
    """Tables 5 and 6: CRAFT and its variants, read by the main model and by the two others."""
    domains = outcomes.scale.ablated
    rows = []
    for name in ("craft", *variants):
        row = Row(name)
        others = [
            Row(name, language_model=language_model)
            for language_model in SURROGATES
            if language_model != MAIN
        ]
        entry = _accuracies(outcomes, name, row, ZERO_SHOT, domains)
        entry["transfer"] = measure(
            [outcomes.rights(other, d) for other in others for d in domains]
        )
        entry["to_craft"] = None if row == CRAFT else outcomes.points(row, CRAFT, domains)
        rows.append(entry)
    return rows


def keep_ratios(outcomes: Outcomes) -> dict[str, list[dict[str, Any]]]:
    """Figure 5: accuracy against the share of tokens kept, by rarity and at random."""
    return {
        selector: [
            {
                "keep": ratio,
                **outcomes.score(pruned(ratio, selector), outcomes.scale.domains),
            }
            for ratio in KEEP_RATIOS
        ]
        for selector in ("full", "random")
    }


def selectors(outcomes: Outcomes) -> list[dict[str, Any]]:
    """The ablation of pruning: what each cue adds, at two budgets."""
    domains = outcomes.scale.domains
    return [
        {
            "title": selector,
            "paper": paper.SELECTORS.get(selector),
            "ratios": {
                str(ratio): {
                    "all": outcomes.score(chosen := pruned(ratio, selector), domains),
                    "over_random": outcomes.points(chosen, pruned(ratio, "random"), domains),
                }
                for ratio in COMPARED_RATIOS
            },
        }
        for selector in SELECTORS
    ]
