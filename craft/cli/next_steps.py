"""What commands say about the steps before and after them; command lines can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path


def next_line(command: str, pack: Path, out: str, **options: Path | str | None) -> str:
    """A command line about a pack, quoted for a shell.

    Args:
        out: where it writes.
        options: option without dashes -> value, or None to omit it.
    """
    words = ["craft", command, str(pack), "--out", out]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def resuming(checkpoints: Path, step: int, steps: int) -> str:
    """Say what ``--resume auto`` found.

    Args:
        checkpoints: the run's directory of checkpoints.
        step: of the checkpoint that the run resumes from; 0 without one.
        steps: of the whole run.
    """
    from craft.training.records.checkpoint import CheckpointDirectory

    if not step:
        return f"--resume auto: nothing to resume in {checkpoints}; starting at step 1 of {steps}"
    found = CheckpointDirectory(checkpoints).path(step)
    if step >= steps:
        return f"--resume auto: all {steps} steps are done in {found}; continuing after them"
    return f"--resume auto: resuming at step {step + 1} of {steps}, from {found}"
