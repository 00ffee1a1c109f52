"""``craft export``: write test questions for other evaluation suites."""

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
from craft.errors import CraftError
from craft.workbench.outputs import require_new_file


def export(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for the task's files")],
    to: Annotated[Literal["lmms-eval", "vlmevalkit"], typer.Option(help="evaluation suite")],
    name: Annotated[
        str | None, typer.Option(help="name of the task [default: craft_DOMAIN]")
    ] = None,
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Write the test questions of the pack's domain as a task of another evaluation suite."""
    process.prepare()
    from craft.family.family import ModelFamily
    from craft.integrations.task_export import (
        export_lmms_eval,
        export_vlmevalkit,
        require_task_name,
    )
    from craft.pocket.domains import load_domain
    from craft.workbench.opening import open_pack

    if out.exists() and not out.is_dir():
        raise CraftError(f"--out {out} is a file; name a directory")
    chosen = open_pack(
        pack,
        ModelFamily.load(models),
        domain=None if domain is None else load_domain(domain),
        data=data,
        known=load_domain,
    ).domain
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
    console.print(f"{path}: {len(questions)} questions")
