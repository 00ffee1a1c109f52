"""``craft export``: test questions for other evaluation suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli import data_options, process
from craft.cli.options import (
    Force,
    Models,
    Pack,
    PackDomain,
    console,
)
from craft.cli.run_directory import require_new_file
from craft.errors import CraftError


def export(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for the task's files")],
    to: Annotated[Literal["lmms-eval", "vlmevalkit"], typer.Option(help="suite that reads them")],
    name: Annotated[str | None, typer.Option(help="of the task [default: craft_DOMAIN]")] = None,
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Write the test questions of the pack's domain as a task of another evaluation suite."""
    process.prepare()
    from craft.cli.packs import open_pack
    from craft.family.family import ModelFamily
    from craft.integrations.task_export import (
        export_lmms_eval,
        export_vlmevalkit,
        require_task_name,
    )

    if out.exists() and not out.is_dir():
        raise CraftError(f"--out {out} is a file; name a directory")
    _, chosen = open_pack(pack, ModelFamily.load(models), name=domain, data=data)
    questions = chosen.questions(chosen.test)
    write = export_lmms_eval if to == "lmms-eval" else export_vlmevalkit
    task = require_task_name(name or f"craft_{chosen.name}")
    written = (
        (f"{task}.yaml", f"{task}.parquet", f"{task}_functions.py")
        if to == "lmms-eval"
        else (f"{task}.tsv",)
    )
    for file in written:
        require_new_file(out / file, "--out", force)
    path = write(task, chosen.test.images, questions, out)
    console.print(f"{path}: {len(questions)} questions", highlight=False)
