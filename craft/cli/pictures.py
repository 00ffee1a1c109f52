"""``craft pictures``: draw codes, and the patches that pruning keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import data_options, process
from craft.cli.options import (
    Device,
    Force,
    KeepRatios,
    Models,
    Pack,
    PackDomain,
    console,
)


def pictures(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for code_maps.png and codes.png")],
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    count: Annotated[int, typer.Option(min=1, help="images to draw")] = 6,
    keep_ratio: KeepRatios = None,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Draw each patch's code, what pruning keeps, and which codes are frequent or rare."""
    process.prepare()
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.report.code_pictures import draw_pictures
    from craft.workbench.opening import open_pack
    from craft.workbench.run_directory import open_run_directory, require_run_directory

    require_run_directory(out, "pictures", force=force)
    found = open_pack(
        pack,
        ModelFamily.load(models, device=device),
        domain=None if domain is None else load_domain(domain),
        data=data,
        known=load_domain,
    )
    open_run_directory(out, {"command": "pictures", "pack": str(pack)}, force=force)
    ratios = keep_ratio or [0.8, 0.6, 0.4]
    for path in draw_pictures(found.encoder, found.domain, out, count, ratios):
        console.print(str(path))
