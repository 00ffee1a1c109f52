"""craft reproduce in several processes, which see none of the patches that make other tests' world
small: so this is a file of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from craft.family.family import ModelFamily
from craft.pocket.reproduction import run
from craft.pocket.reproduction.plan import PRETRAINED, Job, Scale


@pytest.mark.slow
def test_workers_do_what_one_process_does(three_models: ModelFamily, tmp_path: Path) -> None:
    """Real processes on the shipped images, zero-shot only."""
    todo = [Job(PRETRAINED, "flags"), Job(PRETRAINED, "handwriting")]
    scale = Scale("few", ("flags", "handwriting"), (), 1, 1, 4, 3)
    for workers in (1, 2):
        directory = tmp_path / str(workers)
        directory.mkdir()
        assert len(list(run._work(todo, scale, three_models, directory, workers))) == 2
    for job in todo:
        one, two = (
            json.loads((tmp_path / str(n) / f"{job.name}.json").read_text()) for n in (1, 2)
        )
        assert one["answers"] == two["answers"]
        assert one["questions"] == two["questions"]
