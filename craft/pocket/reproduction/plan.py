"""The jobs of a reproduction: each adapts the pocket encoder and examines it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from craft.settings.training import CraftConfig

#: Language models; the first is the surrogate of all single-surrogate tables.
MAIN = "qwen2"
SURROGATES = (MAIN, "llama", "phi")
#: Baselines on plain features, and the one on codes.
CONTINUOUS_METHODS = ("vision_ft", "projector_ft", "ldifs", "llm_lora")
BASELINES = (*CONTINUOUS_METHODS, "discrete_ft")
#: Learning rates of methods for which another than CRAFT's did better on validation images (see
#: docs/reproduction.md).
_RATES: dict[str, dict[str, Any]] = {"projector_ft": {"lr": 1e-3}}
#: Variant of CRAFT -> settings that differ from CRAFT's.
LOSSES: dict[str, dict[str, Any]] = {
    "without contrastive": {"lambda_con": 0.0},
    "without commitment": {"lambda_commit": 0.0},
    "without answers": {"lambda_sal": 0.0},
}
CODEBOOKS: dict[str, dict[str, Any]] = {
    f"codebook {percent} %": {"codebook": {"fraction": percent / 100}} for percent in (50, 25, 10)
}
PRETRAINED = "pretrained"
KEEP_RATIOS = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Keep ratios at which selectors are compared: the paper's, and one that hurts.
COMPARED_RATIOS = (0.8, 0.4)


@dataclass(frozen=True)
class Scale:
    """The extent of a reproduction.

    ``ablated`` are the domains of the ablations of losses and codebook; ``steps`` is the length of
    every adaptation; ``test_images`` and ``general_images`` are the numbers of images that each
    encoder is examined on.
    """

    name: str
    domains: tuple[str, ...]
    ablated: tuple[str, ...]
    seeds: int
    steps: int
    test_images: int | None
    general_images: int

    def settings(self, changes: dict[str, Any], seed: int) -> CraftConfig:
        """CRAFT's settings with ``changes``; the final weights are used, as in the paper."""
        return CraftConfig.model_validate(
            {
                "steps": self.steps,
                "blend": False,
                "validate_every": self.steps,
                "validation_images": 60,
                "checkpoint": {"every": 0},
                "seed": seed,
            }
            | changes
        )


FULL = Scale("full", ("handwriting", "lineart", "flags"), ("handwriting",), 3, 150, 400, 300)
QUICK = Scale("quick", ("handwriting",), ("handwriting",), 1, 100, 150, 90)
SCALES = {scale.name: scale for scale in (FULL, QUICK)}


@dataclass(frozen=True)
class Job:
    """One encoder on one domain: adapted by ``variant`` through ``surrogate``, then examined.

    ``PRETRAINED`` is examined without adaptation.
    """

    variant: str
    domain: str
    surrogate: str = MAIN
    seed: int = 0

    @property
    def name(self) -> str:
        """A unique file name."""
        words = (self.domain, self.variant.replace(" %", ""), self.surrogate, f"seed {self.seed}")
        return "-".join(words).replace(" ", "-")

    @property
    def changes(self) -> dict[str, Any]:
        """Settings of the variant that differ from CRAFT's."""
        if self.variant in BASELINES:
            return {"method": self.variant} | _RATES.get(self.variant, {})
        return {"craft": {}, **LOSSES, **CODEBOOKS}[self.variant]

    @property
    def pruned(self) -> bool:
        """Whether the job is examined at all keep ratios."""
        return self.variant == "craft" and self.surrogate == MAIN


def jobs(scale: Scale, surrogates: tuple[str, ...] = SURROGATES) -> Iterator[Job]:
    """All jobs of a scale, beginning with those that others are compared with."""
    for domain in scale.domains:
        yield Job(PRETRAINED, domain)
    for seed in range(scale.seeds):
        for domain in scale.domains:
            yield from (Job("craft", domain, surrogate, seed) for surrogate in surrogates)
            yield from (Job(method, domain, seed=seed) for method in BASELINES)
            if domain in scale.ablated:
                yield from (Job(name, domain, seed=seed) for name in (*LOSSES, *CODEBOOKS))
