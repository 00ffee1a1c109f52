"""``craft demo``: the whole method on the pocket world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli import checks, process, training_options
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
    out: Annotated[Path, typer.Option(help="where results, page and encoder packs go")] = Path(
        "runs/demo"
    ),
    domain: Annotated[
        Literal["handwriting", "lineart", "flags", "all"],
        typer.Option(help="which images to adapt to"),
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
    """The whole method: adapt, plug into the other language model, prune, compare.

    Writes results.json, predictions.jsonl (every answer), index.html and, for each domain and seed,
    an encoder pack. An --out that holds files already is refused, unless --force says to replace
    them.
    """
    process.prepare()
    config = training_options.config(preset, settings_file, settings)
    from craft.cli.progress import ProgressDisplay
    from craft.cli.run_directory import open_run_directory, require_run_directory
    from craft.family.family import ModelFamily
    from craft.pocket.demo.page import write_page
    from craft.pocket.demo.run import run_demo
    from craft.pocket.demo.table import demo_table
    from craft.pocket.retention import PocketProbe

    require_run_directory(out, "demo", force=force)
    checks.require_trainable(config)
    zoo = ModelFamily.load(models, device=device)
    surrogate = checks.language_model(zoo, "--surrogate", surrogate)
    zoo.text_tokenizer(config)  # a missing one is found before anything is written
    domains = DOMAINS if domain == "all" else (domain,)
    command = {"command": "demo", "domains": list(domains), "seeds": seeds, "surrogate": surrogate}
    checks.require_enough_questions(config, PocketProbe())
    open_run_directory(out, command | {"config": config.model_dump()}, force=force)
    with ProgressDisplay(console) as progress:
        run = run_demo(
            domains,
            out,
            range(seeds),
            config,
            zoo,
            surrogate=surrogate,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    page = write_page(run.results, run.examples, out)
    console.print(demo_table(run.results))
    console.print(f"Open {page} for images, answers and curves.", highlight=False)
