"""An exam of random models on random images, slow enough to be killed at any point.

``python -m tests.craft.workbench.killed_exams MODELS OUT evaluate`` (or ``transfer``) says "begins"
once everything is loaded.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from craft.evaluation import exam, visual_tokens
from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.settings.exams import ExamSettings
from craft.workbench.evaluate import evaluate_pack
from craft.workbench.transfer import transfer_matrix
from tests.craft.training.short_run import random_domain


def in_small_steps(patch: Any) -> None:
    """Process two images or questions at a time, by ``patch(owner, name, value)``."""
    patch(exam, "answer_questions", partial(exam.answer_questions, batch=2))
    patch(visual_tokens, "cut", partial(visual_tokens.cut, batch=2))


def examine(models: ModelFamily, out: Path, command: str) -> None:
    if command == "transfer":
        encoders = {"again": models.plug()}
        transfer_matrix(encoders, models, random_domain(), out, names=["qwen2", "llama"])
        return
    evaluate_pack(
        models.plug(),
        models,
        random_domain(),
        out,
        names=["qwen2", "llama"],
        settings=ExamSettings(keep_ratios=[1.0, 0.5], selector="random", justify=True),
    )


def slow_down(owner: Any, name: str) -> None:
    work = getattr(owner, name)

    def slowly(*args: Any) -> Any:
        time.sleep(0.02)
        return work(*args)

    setattr(owner, name, slowly)


def main() -> None:
    models, out = map(Path, sys.argv[1:3])
    in_small_steps(setattr)
    slow_down(AlignedLanguageModel, "answer")
    slow_down(DiscreteVisionTower, "encode")
    family = ModelFamily(models)
    for name in family.names:
        family.language_model(name)
    print("begins", flush=True)
    examine(family, out, sys.argv[3])


if __name__ == "__main__":
    main()
