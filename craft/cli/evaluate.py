"""``craft evaluate``: what an adapted encoder is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import data_options, process
from craft.cli.options import (
    Device,
    Force,
    General,
    GeneralImages,
    LanguageModel,
    Models,
    Pack,
    PackDomain,
    SelectorName,
    TestLimit,
    console,
)


def evaluate(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="where results.json and predictions.jsonl go")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: Annotated[
        list[float] | None, typer.Option(help="share of the visual tokens to keep; repeat [1.0]")
    ] = None,
    selector: Annotated[SelectorName, typer.Option(help="how tokens are chosen")] = "full",
    prior: Annotated[
        Path | None, typer.Option(help="token prior to prune by [default: the pack's]")
    ] = None,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="also score the likeliest option letter")
    ] = False,
    justify: Annotated[
        bool, typer.Option("--justify", help="also ask for justifications, marked by rule")
    ] = False,
    seed: Annotated[int, typer.Option(help="of the random selectors")] = 0,
    test_limit: TestLimit = None,
    general: General = None,
    general_images: GeneralImages = 900,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Examine an encoder pack through language models that share its codebook.

    A pack made for another codebook is refused, with both fingerprints.
    """
    process.prepare()
    from craft.cli.packs import open_pack
    from craft.cli.progress import ProgressDisplay
    from craft.cli.retention import NOT_MEASURED, retention_probe
    from craft.cli.run_directory import open_run_directory
    from craft.family.family import ModelFamily
    from craft.prior import TokenPrior
    from craft.report.tables import evaluation_table
    from craft.workbench.evaluate import evaluate_pack

    zoo = ModelFamily.load(models, device=device)
    loaded, chosen = open_pack(pack, zoo, name=domain, data=data)
    command = {"command": "evaluate", "pack": str(pack), "domain": chosen.name}
    open_run_directory(out, command, force)
    probe = retention_probe(zoo, general)
    if probe is None:
        console.print(NOT_MEASURED, highlight=False)
    with ProgressDisplay(console) as progress:
        results = evaluate_pack(
            loaded,
            zoo,
            chosen,
            out,
            names=zoo.names if llm == "all" else [llm],
            probe=probe,
            keep_ratios=keep_ratio or [1.0],
            selector=selector,
            likelihood=likelihood,
            justify=justify,
            prior=TokenPrior.load(prior) if prior else None,
            seed=seed,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    console.print(evaluation_table(results))
