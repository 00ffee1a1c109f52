"""What commands say about the steps before and after them, as lines that work as typed."""

from __future__ import annotations

import shlex
from pathlib import Path


def next_line(command: str, pack: Path, out: str, **options: Path | str | None) -> str:
    """A command about a pack.

    Args:
        out: where it writes to.
        options: option without dashes -> value, None for one that is not needed.
    """
    words = ["craft", command, str(pack), "--out", out]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def resuming(checkpoints: Path, step: int, steps: int) -> str:
    """What ``--resume auto`` found.

    Args:
        checkpoints: the run's directory of them.
        step: of the checkpoint that the run resumes from, or 0.
        steps: how many the run has.
    """
    from craft.training.records.checkpoint import CheckpointDirectory

    if not step:
        return f"--resume auto: nothing to resume in {checkpoints}; starting at step 1 of {steps}"
    found = CheckpointDirectory(checkpoints).path(step)
    if step >= steps:
        return f"--resume auto: all {steps} steps are done in {found}; going on with what follows"
    return f"--resume auto: resuming at step {step + 1} of {steps}, from {found}"
