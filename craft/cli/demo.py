"""``craft demo``: the whole method on the pocket world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli import process, training_options
from craft.cli.options import (
    DOMAINS,
    Device,
    Force,
    GeneralImages,
    Models,
    Surrogate,
    TestLimit,
    console,
)


def demo(
    out: Annotated[Path, typer.Option(help="directory for results, page and encoder packs")] = Path(
        "runs/demo"
    ),
    domain: Annotated[
        Literal["handwriting", "lineart", "flags", "all"],
        typer.Option(help="pocket-world domain to adapt to"),
    ] = "handwriting",
    seeds: Annotated[int, typer.Option(min=1, help="adaptations to average over")] = 1,
    surrogate: Surrogate = None,
    settings: training_options.Settings = None,
    preset: training_options.Preset = "craft",
    settings_file: training_options.SettingsFile = None,
    test_limit: TestLimit = None,
    general_images: GeneralImages = 900,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Run the whole method: adapt, plug into the other language model, prune, compare.

    Writes results.json, predictions.jsonl (every answer), index.html and, for each domain and seed,
    an encoder pack. An --out that already holds files is refused, unless --force is given to
    replace them.
    """
    process.prepare()
    config = training_options.config(preset, settings_file, settings)
    from craft.cli.progress import ProgressDisplay
    from craft.family.family import ModelFamily
    from craft.pocket.demo.page import write_page
    from craft.pocket.demo.run import require_demo, run_demo
    from craft.pocket.demo.table import demo_table
    from craft.workbench.requirements import language_model
    from craft.workbench.run_directory import open_run_directory, require_run_directory

    require_run_directory(out, "demo", force=force)
    family = ModelFamily.load(models, device=device)
    surrogate = language_model(family, surrogate, "surrogate")
    require_demo(config, family, surrogate)
    domains = DOMAINS if domain == "all" else (domain,)
    command = {"command": "demo", "domains": list(domains), "seeds": seeds, "surrogate": surrogate}
    open_run_directory(out, command | {"config": config.model_dump()}, force=force)
    with ProgressDisplay(console) as progress:
        run = run_demo(
            domains,
            out,
            range(seeds),
            config,
            family,
            surrogate=surrogate,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    page = write_page(run.results, run.examples, out)
    console.print(demo_table(run.results))
    console.print(f"Open {page} for images, answers and curves.")
