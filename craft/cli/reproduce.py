"""``craft reproduce``: run the paper's experiments on the pocket world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import process
from craft.cli.options import Device, Force, Models, console


def reproduce(
    out: Annotated[Path, typer.Option(help="directory for results.json and index.html")] = Path(
        "runs/reproduce"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="one domain and seed, half the steps; takes minutes")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="single-threaded processes [default: one per core]")
    ] = None,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Reproduce the paper's tables and figures, and report which of its claims hold here.

    An interrupted run resumes where it stopped. Writes results.json and index.html.
    """
    process.prepare()
    import torch

    from craft.cli.interrupt import telling_what_is_kept, typed_line
    from craft.cli.progress import ProgressDisplay
    from craft.family.family import ModelFamily
    from craft.pocket.reproduction.claims_table import claims_table
    from craft.pocket.reproduction.page import write_reproduction_page
    from craft.pocket.reproduction.plan import SCALES
    from craft.pocket.reproduction.run import reproduce as run
    from craft.workbench.run_directory import open_run_directory

    scale = SCALES["quick" if quick else "full"]
    family = ModelFamily.load(models, device=device)
    open_run_directory(out, {"command": "reproduce", "scale": scale.name}, resume=True, force=force)

    def kept() -> str:
        return f"the finished encoders are in {out}; to resume: {typed_line()}"

    with telling_what_is_kept(kept), ProgressDisplay(console) as progress:
        results = run(
            scale, family, out, workers=workers or torch.get_num_threads(), on_progress=progress
        )
    page = write_reproduction_page(results, out / "index.html")
    console.print(claims_table(results))
    console.print(f"Open {page} for tables and figures.")
