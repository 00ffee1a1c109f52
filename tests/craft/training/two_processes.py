"""Run a script of these tests in two distributed processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def in_two_processes(name: str, *arguments: object, **environment: str) -> None:
    """Run a module, named relative to this folder or in full, under torchrun with one thread per
    process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    module = name if "." in name else f"tests.craft.training.{name}"
    script = ["-m", module, *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | environment
    done = subprocess.run(
        [*command, *script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
