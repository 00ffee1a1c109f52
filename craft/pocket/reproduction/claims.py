"""The paper's claims, tested here: each holds, does not hold, or cannot be tested.

A claim that one thing is better holds if the 95 % interval of the difference lies above zero. A
claim that something costs next to nothing holds if the interval lies above the loss that the paper
itself calls small. Otherwise a claim does not hold *here*: the world may be too small to show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from craft.pocket.reproduction import paper
from craft.pocket.reproduction.examination import ALL_TOKENS, CONTINUOUS, FOREIGN
from craft.pocket.reproduction.outcomes import Measure, Outcomes, Row, measure, pruned
from craft.pocket.reproduction.plan import MAIN, PRETRAINED, SURROGATES

HOLDS, FAILS, UNTESTED = "holds here", "does not hold here", "cannot be tested here"
#: Points that pruning a fifth of the tokens, or another prior, may lose.
SMALL_LOSS = 1.5


@dataclass(frozen=True)
class Claim:
    """``find`` computes the difference that must exceed ``bound``; if None, ``reason`` says why."""

    where: str
    text: str
    reported: str
    find: Callable[[Outcomes], Measure] | None = None
    bound: float = 0.0
    reason: str = ""


_CRAFT = Row("craft")


def _against(before: Row, after: Row = _CRAFT) -> Callable[[Outcomes], Measure]:
    return lambda outcomes: outcomes.points(after, before, outcomes.scale.domains)


def _over_own_base(baseline: str) -> Callable[[Outcomes], Measure]:
    """CRAFT's gain on codes minus a baseline's gain on continuous features."""

    def find(outcomes: Outcomes) -> Measure:
        return measure(
            [
                outcomes.rights(Row("craft"), d)
                - outcomes.rights(Row(PRETRAINED), d)
                - outcomes.rights(Row(baseline), d)
                + outcomes.rights(Row(PRETRAINED, condition=CONTINUOUS), d)
                for d in outcomes.scale.domains
            ]
        )

    return find


def _ablated(variant: str, language_model: str = MAIN) -> Callable[[Outcomes], Measure]:
    return lambda outcomes: outcomes.points(
        Row("craft", language_model=language_model),
        Row(variant, language_model=language_model),
        outcomes.scale.ablated,
    )


def _transferred(outcomes: Outcomes) -> Measure:
    """Mean gain of all encoders through all models that were not their surrogate."""
    return measure(
        [
            outcomes.rights(Row("craft", s, language_model), d)
            - outcomes.rights(Row(PRETRAINED, language_model=language_model), d)
            for s in SURROGATES
            for language_model in SURROGATES
            if s != language_model
            for d in outcomes.scale.domains
        ]
    )


def _justified(baseline: str) -> Callable[[Outcomes], Measure]:
    return lambda outcomes: measure(
        [
            outcomes.passed("craft", d, "relevant") - outcomes.passed(baseline, d, "relevant")
            for d in outcomes.scale.domains
        ]
    )


CLAIMS = (
    Claim(
        "Table 1",
        "Adapting the encoder through codes improves a domain's accuracy.",
        f"{paper.GAIN:+.2f} points",
        _against(Row(PRETRAINED)),
    ),
    *(
        Claim(
            "Table 1",
            f"CRAFT gains more over its own start than {title} does.",
            reported,
            _over_own_base(name),
        )
        for name, title, reported in (
            ("vision_ft", "tuning the encoder on continuous features", "+13.51 against +1.87"),
            ("projector_ft", "tuning the projector", "+13.51 against -3.29"),
            ("ldifs", "LDIFS", "+13.51 against -4.91"),
        )
    ),
    Claim(
        "Tables 3, 7",
        "The gain carries over to language models that took no part.",
        "gains in all of them",
        _transferred,
    ),
    *(
        Claim(
            "Table 2",
            f"CRAFT's model justifies its answers more often to the point than {title}.",
            "better in the judge's overall mark",
            _justified(name),
        )
        for name, title in (
            ("llm_lora", "one tuned by LoRA"),
            ("vision_ft", "one whose continuous encoder was tuned"),
        )
    ),
    Claim(
        "Table 5",
        "The commitment loss is needed.",
        f"accuracy {paper.WITHOUT_COMMITMENT} without it",
        _ablated("without commitment"),
    ),
    Claim(
        "Table 5",
        "The contrastive loss helps.",
        "lower without it",
        _ablated("without contrastive"),
    ),
    Claim(
        "Table 5",
        "The answer loss helps.",
        "lower without it",
        _ablated("without answers"),
    ),
    Claim(
        "Table 6",
        "A tenth of the codebook does worse than all of it.",
        "lower with fewer codewords",
        _ablated("codebook 10 %"),
    ),
    Claim(
        "Figure 5",
        f"Keeping 80 % of the tokens costs at most {SMALL_LOSS} points.",
        "no loss to speak of",
        _against(Row("craft", condition=ALL_TOKENS), pruned(0.8, "full")),
        -SMALL_LOSS,
    ),
    *(
        Claim(
            "Pruning",
            f"{title} at keep ratio {ratio}.",
            reported if ratio == 0.8 else "",
            _against(pruned(ratio, before), pruned(ratio, after)),
        )
        for title, before, after, reported in (
            ("Choosing by rarity beats chance", "random", "full", "+1.95"),
            ("Quotas alone beat chance", "random", "quota_random", "+1.45"),
            ("The residual adds to quotas", "quota_random", "quota_residual", "+0.31"),
            ("Isolation adds to the residual", "quota_residual", "full", "+0.19"),
        )
        for ratio in (0.8, 0.4)
    ),
    Claim(
        "Pruning",
        f"Another world's prior costs at most {SMALL_LOSS} points at keep ratio 0.8.",
        "-0.04",
        _against(pruned(0.8, "full"), pruned(0.8, FOREIGN)),
        -SMALL_LOSS,
    ),
    Claim(
        "Table 4",
        "Keeping 80 % of the tokens saves prefill operations and time.",
        "-16 % and -7 %",
        reason="36 tokens an image are too few to time; benchmarks/inference_efficiency.py "
        "measures it at real sizes (docs/performance.md)",
    ),
    Claim(
        "Table 2",
        "A judge model prefers CRAFT's explanations.",
        "better overall",
        reason="it needs a large language model as judge, craft judge (docs/evaluation.md), and "
        "models that write free text",
    ),
    Claim(
        "Table 1",
        "All this on ten public benchmarks with 7B models.",
        "68.58 on average",
        reason="it needs VILA-U's weights, the benchmarks and GPUs",
    ),
)


def judge_claims(
    outcomes: Outcomes, costs: dict[str, dict[str, float]] | None
) -> list[dict[str, Any]]:
    """Every claim with its verdict and, if it was tested, the difference and its interval."""
    judged = []
    for claim in CLAIMS:
        found = None if claim.find is None else claim.find(outcomes)
        verdict = UNTESTED
        if found is not None:
            verdict = HOLDS if found["interval"][0] > claim.bound else FAILS
        judged.append(
            {
                "where": claim.where,
                "claim": claim.text,
                "paper": claim.reported,
                "found": found,
                "bound": claim.bound,
                "verdict": verdict,
                "reason": claim.reason,
            }
        )
    if costs is not None:
        judged += [_cost_claim(costs, quantity) for quantity in ("seconds", "peak_mib")]
    return judged


def _cost_claim(costs: dict[str, dict[str, float]], quantity: str) -> dict[str, Any]:
    large, small = costs["Vision FT, large model"], costs["CRAFT, small model"]
    change = 100 * (small[quantity] / large[quantity] - 1)
    name = {"seconds": "time", "peak_mib": "memory"}[quantity]
    return {
        "where": "Table 4",
        "claim": f"A small surrogate saves more than half of a training step's {name}.",
        "paper": f"{paper.SMALL_SURROGATE[quantity]:+.1f} %",
        "found": {"percent": change},
        "bound": -50.0,
        "verdict": HOLDS if change < -50 else FAILS,
        "reason": "",
    }
