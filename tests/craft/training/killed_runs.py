"""Runs that are killed with -9 at random instants and resumed, for test_resume.

The arguments are MODELS OUT KILLS SEED; the output is one JSON line. Children are forked, so that a
new process needs no new imports.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from craft.family.family import ModelFamily
from craft.runtime.tensor_hash import tensor_hash
from tests.craft.training.short_run import short_run


def start(models: Path, out: Path) -> tuple[int, int]:
    """Fork a child that starts or resumes the adaptation in ``out``.

    Returns its process id, and a pipe to which it writes when training starts.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        with (out.parent / "log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            begun: Any = lambda _: os.write(writer, b"x")  # noqa: E731
            result = short_run(ModelFamily(models), out, ("steps=6",), resume=True, on_start=begun)
            # Under another name first, since a kill may truncate this file too.
            (out / "almost").write_text(tensor_hash(result.tower.state_dict()))
            (out / "almost").rename(out / "done")
            os._exit(0)
    finally:
        os._exit(1)


def finish(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"a run failed with status {status}")


def main() -> None:
    models, root = Path(sys.argv[1]), Path(sys.argv[2])
    kills, rng = int(sys.argv[3]), random.Random(int(sys.argv[4]))
    out = root / "whole"
    out.mkdir(parents=True)
    child, pipe = start(models, out)
    os.read(pipe, 1)
    begun = time.monotonic()
    finish(child)
    length = time.monotonic() - begun
    expected = (out / "done").read_text()
    log = (out / "train.jsonl").read_text()
    facts = {"kills": 0, "while_writing": 0, "finished": 0, "resumed": 0, "same": True}
    out = root / "killed"
    while True:
        out.mkdir(exist_ok=True)
        facts["resumed"] += (out / "checkpoints").is_dir()
        child, pipe = start(models, out)
        if facts["kills"] < kills:
            os.read(pipe, 1)
            time.sleep(rng.uniform(0, 0.8 * length))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise RuntimeError("a run failed by itself:\n" + (root / "log").read_text()[-3000:])
            facts["kills"] += os.WIFSIGNALED(status)
            facts["while_writing"] += any((out / "checkpoints").glob(".*-*"))
        else:
            finish(child)
        os.close(pipe)
        if (out / "done").is_file():
            facts["finished"] += 1
            facts["same"] &= (out / "done").read_text() == expected
            facts["same"] &= losses((out / "train.jsonl").read_text()) == losses(log)
            if facts["kills"] >= kills:
                break
            shutil.rmtree(out)
    print(json.dumps(facts))


def losses(lines: str) -> list[dict[str, Any]]:
    """Every line of a log without its times."""
    entries = [json.loads(line) for line in lines.splitlines()]
    return [{k: v for k, v in entry.items() if k not in ("seconds", "pace")} for entry in entries]


if __name__ == "__main__":
    main()
