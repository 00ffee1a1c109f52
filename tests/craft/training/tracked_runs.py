"""A tracked run that dies after three of five steps and resumes from the checkpoint of step 2.

``python -m tests.craft.training.tracked_runs MODELS OUT TRACKER ...`` runs it in a separate
process, for trackers that read their environment when they are imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from craft.family.family import ModelFamily
from craft.training.training_run import TrainingRun
from tests.craft.training.short_run import short_run

SETTINGS = ("steps=5", "checkpoint.every=2", "encoder=heba", "heba.sites=[attn_in, ffn_hidden]")


def tracked_run(models: ModelFamily, out: Path, trackers: list[str]) -> None:
    settings = (*SETTINGS, f"log.trackers=[{', '.join(trackers)}]", "log.project=pens")
    original = TrainingRun.step

    def step(run, first=False):
        if run.schedule.last_epoch == 3:
            raise KeyboardInterrupt
        return original(run, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingRun, "step", step)
        with pytest.raises(KeyboardInterrupt):
            short_run(models, out, settings)
    assert short_run(models, out, settings, resume=True).resumed == 2


if __name__ == "__main__":
    directory, target, *names = sys.argv[1:]
    tracked_run(ModelFamily(Path(directory)), Path(target), names)
