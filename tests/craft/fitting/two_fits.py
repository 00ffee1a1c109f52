"""Fits a codebook by several processes; see test_fit.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from craft.fitting import FeatureFile, fit_codebook


def main(features: str, out: str, shared: str, start: Any) -> None:
    dist.init_process_group("gloo")
    state = Path(out) / "state.safetensors"
    codebook = fit_codebook(
        FeatureFile(features), 24, 3, shared=shared == "True", start=start, state=state
    )
    codebook.save(Path(out) / f"{dist.get_rank()}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
