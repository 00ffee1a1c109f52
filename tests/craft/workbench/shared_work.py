"""Commands whose work several processes share, for tests that compare them with one process.

``python -m tests.craft.workbench.shared_work PLACES LINE ...`` calls each command line in turn, in
small steps. PLACES is JSON: what to fill in for names in braces. :data:`DIES`, an environment
variable, is "PROCESS WHAT COUNT": that process kills itself at its so-manieth call of WHAT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from craft.corpus import tokens
from craft.evaluation import exam, visual_tokens
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.processes import joined
from tests.craft.cli.commands import craft_command
from tests.craft.workbench.killed_exams import in_small_steps

DIES = "TEST_DIES"
#: By the folder or file that they write, in {out}.
LINES = {
    "evaluate": "evaluate {pack} --keep-ratio 1 --keep-ratio 0.5 --likelihood --justify "
    "--general {folder} --general-images 7",
    "features": "evaluate {plain} --general {folder} --general-images 7",
    "transfer": "transfer {pack} {other} --general {folder} --general-images 7",
    "tokens": "tokenize {folder} --pack {pack} --shard-size 9",
    "prior": "prior {pack}",
}


def line(name: str) -> str:
    return f"{LINES[name]} --out {{out}}/{name} --models {{models}}"


def patched(patch: Callable[[Any, str, Any], object]) -> None:
    """Few images and questions at a time, so that there is work for all."""
    in_small_steps(patch)
    likelihoods = partial(exam.option_log_likelihoods, batch=3)
    patch(exam, "option_log_likelihoods", likelihoods)
    patch(visual_tokens, "FEATURE_BYTES", 1)
    patch(visual_tokens, "BATCH", 4)


def call(text: str, places: dict[str, str]) -> Any:
    return craft_command(*(word.format(**places) for word in text.split()))


def files(directory: Path) -> dict[str, bytes]:
    """What a command wrote."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def exchanged() -> dict[str, Any]:
    """What processes tell each other."""
    processes = joined(torch.device("cpu"))
    tensor = torch.zeros(5, 3)
    rows = list(processes.block(range(5)))
    tensor[rows] = torch.tensor([-1.5, float("nan"), 2.0**99])
    processes.fill(tensor)
    told: list[tuple[int, int]] = []
    tally = processes.tally(3, 10, lambda *counts: told.append(counts))
    claimed = list(processes.claimed("abcde"))
    tally.add(len(claimed))
    processes.wait()
    tally.close()
    return {
        "count": processes.count,
        "blocks": processes.gathered(rows),
        "claimed": sorted(x for part in processes.gathered(claimed) for x in part),
        "again": sorted(
            x for part in processes.gathered(list(processes.claimed("f"))) for x in part
        ),
        "filled": tensor.nan_to_num(7.0).tolist(),
        "from_main": processes.from_main(lambda: processes.index),
        "told": processes.gathered(told),
    }


def _die(what: Any, name: str, at: int) -> None:
    work, calls = getattr(what, name), 0

    def dying(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args)

    setattr(what, name, dying)


def main() -> None:
    places, lines = json.loads(sys.argv[1]), sys.argv[2:]
    patched(setattr)
    if DIES in os.environ:
        process, what, count = os.environ[DIES].split()
        if process == os.environ["RANK"]:
            owner = {"answer": AlignedLanguageModel, "encode": DiscreteVisionTower}
            if what == "write":
                _die(tokens, "write_tokens", int(count))
            else:
                _die(owner[what], what, int(count))
    for text in lines:
        if text == "exchange":
            found = exchanged()
            if os.environ["RANK"] == "0":
                Path(places["out"], "exchanged.json").write_text(json.dumps(found))
            continue
        result = call(text, places)
        sys.stdout.write(result.stdout)
        sys.stderr.write(result.stderr)
        sys.stdout.flush()
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code:
            sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
