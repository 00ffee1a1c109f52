"""``craft transfer``: examine every encoder with every language model."""

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
    KeepRatio,
    LanguageModel,
    Models,
    PackDomain,
    TestLimit,
    console,
)


def transfer(
    packs: Annotated[list[Path], typer.Argument(metavar="PACK...", help="encoder packs")],
    out: Annotated[Path, typer.Option(help="directory for results.json and predictions.jsonl")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: KeepRatio = 1.0,
    test_limit: TestLimit = None,
    general: General = None,
    general_images: GeneralImages = 900,
    compile: Compile = False,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Examine every encoder with every language model: points gained over the pretrained encoder.

    All packs are examined on the domain of the first one, or on --domain.
    """
    process.prepare()
    from craft.settings.exams import TransferSettings, exam_settings

    asked = exam_settings(
        TransferSettings,
        {"keep_ratio": keep_ratio, "test_limit": test_limit, "general_images": general_images},
    )
    from craft.cli.interrupt import answers_kept, telling_what_is_kept
    from craft.cli.retention import general_data
    from craft.cli.told import ConsoleListener
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.report.tables import transfer_table
    from craft.runtime.rank import is_main_process
    from craft.workbench import examination

    family = ModelFamily.load(models, device=device)
    with (
        telling_what_is_kept(lambda: answers_kept(out), is_main_process()),
        ConsoleListener(console) as told,
    ):
        results = examination.transfer(
            packs,
            out,
            family=family,
            domain=None if domain is None else load_domain(domain),
            data=data,
            known=load_domain,
            language_models=None if llm == "all" else [llm],
            settings=asked,
            general=general_data(family, general),
            compiled=compile,
            force=force,
            listener=told,
        )
    console.print(transfer_table(results))
