"""``craft export``: test questions for other evaluation suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli import data_options, process
from craft.cli.options import (
    Models,
    Pack,
    PackDomain,
    console,
)


def export(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for the task's files")],
    to: Annotated[Literal["lmms-eval", "vlmevalkit"], typer.Option(help="suite that reads them")],
    name: Annotated[str | None, typer.Option(help="of the task [default: craft_DOMAIN]")] = None,
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    models: Models = None,
) -> None:
    """Write the test questions of the pack's domain as a task of another evaluation suite."""
    process.prepare()
    from craft.cli.packs import open_pack
    from craft.family.family import ModelFamily
    from craft.integrations.task_export import export_lmms_eval, export_vlmevalkit

    _, chosen = open_pack(pack, ModelFamily.load(models), name=domain, data=data)
    questions = chosen.questions(chosen.test)
    write = export_lmms_eval if to == "lmms-eval" else export_vlmevalkit
    path = write(name or f"craft_{chosen.name}", chosen.test.images, questions, out)
    console.print(f"{path}: {len(questions)} questions", highlight=False)
