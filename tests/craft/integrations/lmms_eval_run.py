"""One of two processes that lmms-eval would start, with only what its evaluator asks of a model.

lmms-eval is not installed here. Its evaluator gives each of n processes every n-th document,
gathers their counts on the model's device, and pads with the last request.
"""

from __future__ import annotations

import itertools
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from tests.craft.conftest import picture


class Base:
    """The part of lmms-eval's base class that matters here."""

    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.task_dict: dict = {}

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size


def shared_answers(model: Any, count: int) -> dict[str, Any]:
    """One process's answers about ``count`` documents, with its rank and device."""
    documents = [{"image": picture(i), "question": "what thing"} for i in range(count)]
    model.task_dict = {"task": {"test": documents}}
    mine = list(itertools.islice(range(count), model.rank, None, model.world_size))
    total = [len(mine)]
    if model.world_size > 1:
        here = torch.tensor(len(mine), device=model.device)
        total = model.accelerator.gather(here).cpu().detach().numpy().tolist()
    asked = [
        SimpleNamespace(
            args=("what thing", {"max_new_tokens": 4}, lambda d: [d["image"]], i, "task", "test")
        )
        for i in mine + mine[-1:] * (max(total) - len(mine))
    ]
    answers = model.generate_until(asked)[: len(mine)]
    numbered = {str(i): answer for i, answer in zip(mine, answers, strict=True)}
    return {"rank": model.rank, "total": total, "answers": numbered}


def main(models: str, out: str, count: str) -> None:
    for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model"):
        sys.modules[name] = ModuleType(name)
    sys.modules["lmms_eval.api.model"].lmms = Base  # type: ignore[attr-defined]
    kind = import_module("craft.integrations.lmms_eval.model").CraftModel
    found = shared_answers(kind(models, "llama", batch_size="2"), int(count))
    Path(out, f"{found['rank']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
