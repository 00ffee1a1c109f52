"""``craft evaluate``: what an adapted encoder is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import checks, data_options, process
from craft.cli.options import (
    Device,
    Force,
    General,
    GeneralImages,
    KeepRatios,
    LanguageModel,
    Models,
    Pack,
    PackDomain,
    SelectorName,
    TestLimit,
    console,
)
from craft.errors import CraftError
from craft.settings.ranges import GREATEST_SEED


def evaluate(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="where results.json and predictions.jsonl go")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: KeepRatios = None,
    selector: Annotated[SelectorName, typer.Option(help="how tokens are chosen")] = "full",
    prior: Annotated[
        Path | None, typer.Option(help="token prior to prune by [default: the pack's]")
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="also examine the pretrained encoder, to say what was gained",
        ),
    ] = True,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="also score the likeliest option letter")
    ] = False,
    justify: Annotated[
        bool, typer.Option("--justify", help="also ask for justifications, marked by rule")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=GREATEST_SEED, help="of the random selectors")
    ] = 0,
    test_limit: TestLimit = None,
    general: General = None,
    general_images: GeneralImages = 900,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Examine an encoder pack through language models that share its codebook.

    The pretrained encoder answers the same questions, so that gains and their intervals can be
    told. A pack made for another codebook is refused, with both fingerprints.
    """
    process.prepare()
    from craft.cli.data_check import print_account
    from craft.cli.interrupt import answers_kept, telling_what_is_kept
    from craft.cli.packs import account_of, examined, open_pack
    from craft.cli.progress import ProgressDisplay
    from craft.cli.retention import NOT_MEASURED, retention_probe
    from craft.cli.run_directory import open_run_directory, require_run_directory
    from craft.family.family import ModelFamily
    from craft.prior import TokenPrior
    from craft.report.tables import evaluation_table
    from craft.workbench.evaluate import evaluate_pack

    ratios = keep_ratio or [1.0]
    checks.require_effect_of_pruning(ratios, selector, seed, prior)
    require_run_directory(out, "evaluate", force=force)
    zoo = ModelFamily.load(models, device=device)
    checks.language_models(zoo, llm)
    other_prior = TokenPrior.load(prior) if prior else None
    loaded, chosen = open_pack(pack, zoo, name=domain, data=data)
    if llm != "all" and loaded.own is not None:
        raise CraftError(
            f"{pack} is read by the language model that was trained with it; leave --llm out"
        )
    if domain is None:
        print_account(console, account_of(pack), limit=1)
    names = examined(zoo, llm, loaded, chosen, console)
    command = {"command": "evaluate", "pack": str(pack), "domain": chosen.name}
    open_run_directory(out, command, force=force)
    probe = retention_probe(zoo, general, names)
    if probe is None:
        console.print(NOT_MEASURED, highlight=False)
    with telling_what_is_kept(lambda: answers_kept(out)), ProgressDisplay(console) as progress:
        results = evaluate_pack(
            loaded,
            zoo,
            chosen,
            out,
            names=names,
            probe=probe,
            keep_ratios=ratios,
            selector=selector,
            pretrained=pretrained,
            likelihood=likelihood,
            justify=justify,
            prior=other_prior,
            seed=seed,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    console.print(evaluation_table(results))
