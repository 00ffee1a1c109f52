"""``craft transfer``: every encoder with every language model."""

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
    KeepRatio,
    LanguageModel,
    Models,
    PackDomain,
    TestLimit,
    console,
)
from craft.errors import CraftError


def transfer(
    packs: Annotated[list[Path], typer.Argument(metavar="PACK...", help="encoder packs")],
    out: Annotated[Path, typer.Option(help="where results.json and predictions.jsonl go")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: KeepRatio = 1.0,
    test_limit: TestLimit = None,
    general: General = None,
    general_images: GeneralImages = 900,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Every encoder with every language model: points gained over the pretrained encoder.

    All packs are examined on the domain of the first one, or on --domain.
    """
    process.prepare()
    from craft.cli.interrupt import answers_kept, telling_what_is_kept
    from craft.cli.packs import examined, open_pack
    from craft.cli.progress import ProgressDisplay
    from craft.cli.retention import NOT_MEASURED, retention_probe
    from craft.cli.run_directory import open_run_directory, require_run_directory
    from craft.family.family import ModelFamily
    from craft.report.tables import transfer_table
    from craft.workbench.transfer import transfer_matrix

    if len(set(packs)) < len(packs):
        raise CraftError(f"a pack is named twice: {', '.join(map(str, packs))}")
    require_run_directory(out, "transfer", force=force)
    zoo = ModelFamily.load(models, device=device)
    checks.language_models(zoo, llm)
    first, chosen = open_pack(packs[0], zoo, name=domain, data=data)
    others = {str(pack): zoo.plug(pack) for pack in packs[1:]}
    loaded = {str(packs[0]): first} | others
    names = examined(zoo, llm, first, chosen, console)
    command = {"command": "transfer", "packs": list(loaded), "domain": chosen.name}
    open_run_directory(out, command, force=force)
    probe = retention_probe(zoo, general, names)
    if probe is None:
        console.print(NOT_MEASURED, highlight=False)
    with telling_what_is_kept(lambda: answers_kept(out)), ProgressDisplay(console) as progress:
        results = transfer_matrix(
            loaded,
            zoo,
            chosen,
            out,
            names=names,
            probe=probe,
            keep_ratio=keep_ratio,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    console.print(transfer_table(results))
