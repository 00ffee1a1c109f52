"""All answers, as arrays that can be averaged and compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from craft.errors import CraftError
from craft.evaluation.bootstrap import interval_over_seeds
from craft.pocket.reproduction.examination import ALL_TOKENS, condition, job_file, read_job
from craft.pocket.reproduction.plan import MAIN, PRETRAINED, Scale, jobs

Part = Literal["all", "seen", "heldout", "general"]
#: A mean in per cent, or a difference in points, with its 95 % interval.
Measure = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a table: an encoder, the model that reads it, and the condition."""

    variant: str
    surrogate: str = MAIN
    language_model: str = MAIN
    condition: str = ALL_TOKENS


def pruned(ratio: float, selector: str) -> Row:
    """CRAFT's encoder, read by the main model on the tokens that ``selector`` keeps."""
    return Row("craft", condition=condition(ratio, selector))


class Outcomes:
    """The results of all jobs of a scale.

    Args:
        made_of: hash of the models, see :func:`~craft.pocket.reproduction.examination.run_job`.

    Raises:
        CraftError: the result of a job is missing, damaged, or belongs to another scale or other
            models.
    """

    def __init__(self, directory: Path, scale: Scale, made_of: str):
        self.scale = scale
        self._files: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for job in jobs(scale):
            path = job_file(directory, job)
            found = read_job(path, job, scale, made_of)
            if found is None:
                raise CraftError(f"{path} is missing or damaged; run it again")
            self._files.setdefault((job.variant, job.surrogate, job.domain), []).append(found)

    @property
    def seconds(self) -> float:
        """Total seconds of all jobs."""
        return sum(f["seconds"] for files in self._files.values() for f in files)

    def files(self, variant: str, domain: str, surrogate: str = MAIN) -> list[dict[str, Any]]:
        """The results of a variant on a domain, one per seed."""
        if variant == PRETRAINED:
            surrogate = MAIN
        return self._files[variant, surrogate, domain]

    def rights(self, row: Row, domain: str, part: Part = "all") -> NDArray[np.float64]:  # [S, Q]
        """100 where an answer is correct, else 0; one row per seed."""
        files = self.files(row.variant, domain, row.surrogate)
        kind = "general" if part == "general" else "answers"
        table = np.stack([_numbers(f[kind][row.language_model][row.condition]) for f in files])
        if part in ("all", "general"):
            return table
        return table[:, (_numbers(files[0]["heldout"]) > 0) == (part == "heldout")]

    def passed(self, variant: str, domain: str, rule: str) -> NDArray[np.float64]:  # [S, Q]
        """100 where a justification passes ``rule``, else 0; one row per seed."""
        return np.stack([_numbers(f["justified"][rule]) for f in self.files(variant, domain)])

    def score(self, row: Row, domains: tuple[str, ...], part: Part = "all") -> Measure:
        """Accuracy in per cent, averaged over domains, with the spread of the seeds' averages."""
        return measure([self.rights(row, domain, part) for domain in domains])

    def points(
        self, after: Row, before: Row, domains: tuple[str, ...], part: Part = "all"
    ) -> Measure:
        """Difference in points from ``before`` to ``after``, question by question."""
        return measure(
            [self.rights(after, d, part) - self.rights(before, d, part) for d in domains]
        )


def measure(tables: list[NDArray[np.float64]]) -> Measure:
    """Mean over domains of [S, Q] tables, its interval, and the standard deviation over seeds."""
    seeds = max(len(table) for table in tables)
    averages = [np.mean([t[s % len(t)].mean() for t in tables]) for s in range(seeds)]
    return {
        "mean": float(np.mean([table.mean() for table in tables])),
        "interval": list(interval_over_seeds(tables)),
        "spread": float(np.std(averages, ddof=1)) if seeds > 1 else None,
    }


def _numbers(digits: str) -> NDArray[np.float64]:
    return 100.0 * np.array([digit == "1" for digit in digits])
