"""``craft evaluate``: examine an adapted encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import data_options, process
from craft.cli.options import (
    Compile,
    Device,
    Force,
    General,
    GeneralImages,
    KeepRatios,
    LanguageModel,
    Models,
    Pack,
    PackDomain,
    TestLimit,
    console,
)
from craft.settings.choices import GREATEST_SEED, Selector


def evaluate(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for results.json and predictions.jsonl")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: KeepRatios = None,
    selector: Annotated[Selector, typer.Option(help="how tokens are chosen")] = "full",
    prior: Annotated[
        Path | None, typer.Option(help="token prior to prune by [default: the pack's]")
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="also examine the pretrained encoder, to report gains",
        ),
    ] = True,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="also score the likeliest option letter")
    ] = False,
    justify: Annotated[
        bool, typer.Option("--justify", help="also ask for justifications, scored by rules")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=GREATEST_SEED, help="of the random selectors")
    ] = 0,
    test_limit: TestLimit = None,
    general: General = None,
    general_images: GeneralImages = 900,
    compile: Compile = False,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Examine an encoder pack through language models that share its codebook.

    The pretrained encoder is asked the same questions, so that gains and their confidence intervals
    can be reported. A pack made for another codebook is refused, with both fingerprints.
    """
    process.prepare()
    from craft.settings.exams import ExamSettings, exam_settings

    asked = exam_settings(
        ExamSettings,
        {
            "keep_ratios": keep_ratio or [1.0],
            "selector": selector,
            "pretrained": pretrained,
            "likelihood": likelihood,
            "justify": justify,
            "seed": seed,
            "test_limit": test_limit,
            "general_images": general_images,
        },
    )
    from craft.cli.interrupt import answers_kept, telling_what_is_kept
    from craft.cli.retention import general_data
    from craft.cli.told import ConsoleListener
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.report.tables import evaluation_table
    from craft.runtime.rank import is_main_process
    from craft.workbench import examination

    family = ModelFamily.load(models, device=device)
    with (
        telling_what_is_kept(lambda: answers_kept(out), is_main_process()),
        ConsoleListener(console) as told,
    ):
        results = examination.evaluate(
            pack,
            out,
            family=family,
            domain=None if domain is None else load_domain(domain),
            data=data,
            known=load_domain,
            language_models=None if llm == "all" else [llm],
            settings=asked,
            prior=prior,
            general=general_data(family, general),
            compiled=compile,
            force=force,
            listener=told,
        )
    console.print(evaluation_table(results))
