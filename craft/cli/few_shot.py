"""``craft few-shot``: HeBA adapters on the task they were made for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli import process
from craft.cli.checks import require_finite
from craft.cli.options import Device, DomainName, Force, Models, console


def few_shot(
    out: Annotated[Path, typer.Option(help="directory for results.json")],
    domain: Annotated[DomainName, typer.Option(help="pocket-world domain")] = "lineart",
    adapters: Annotated[
        Literal["heba", "heba_discrete", "both"], typer.Option(help="which preset")
    ] = "both",
    shots: Annotated[int, typer.Option(min=1, help="training images per class, at most")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the shots")] = 30,
    lr: Annotated[
        float,
        typer.Option(
            min=0, callback=require_finite, help="initial learning rate of SGD, with cosine decay"
        ),
    ] = 0.0075,
    smallest_crop: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1,
            callback=require_finite,
            help="smallest share of an image's area that a training view shows",
        ),
    ] = 0.08,
    seeds: Annotated[int, typer.Option(min=1, help="runs to average over")] = 1,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Few-shot classification with the SigLIP pair: train on base classes, only name novel ones.

    Uses the loss and recipe of HeBA's code: SGD, smoothed labels, sampled negative classes. Reports
    accuracy on base and novel classes and their harmonic mean, beside the pair's zero-shot
    accuracy.
    """
    process.prepare()
    from craft.cli.progress import ProgressDisplay
    from craft.family.family import ModelFamily
    from craft.pocket.few_shot import few_shot_task, flip_chance
    from craft.report.tables import few_shot_table
    from craft.training.few_shot import FewShotRecipe
    from craft.workbench.few_shot import compare_few_shot
    from craft.workbench.run_directory import open_run_directory, require_run_directory

    require_run_directory(out, "few-shot", force=force)
    family = ModelFamily.load(models, device=device)
    task = few_shot_task(domain, family)
    recipe = FewShotRecipe(shots=shots, epochs=epochs, lr=lr)
    open_run_directory(out, {"command": "few-shot", "domain": domain, "seeds": seeds}, force=force)
    with ProgressDisplay(console) as progress:
        results = compare_few_shot(
            domain,
            task,
            family,
            out,
            modes=("heba", "heba_discrete") if adapters == "both" else (adapters,),
            seeds=range(seeds),
            recipe=recipe,
            smallest_crop=smallest_crop,
            flip=flip_chance(domain),
            on_progress=progress,
        )
    console.print(few_shot_table(results))
